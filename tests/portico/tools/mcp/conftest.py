"""Fixtures of MCP sources."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from portico.crypto.keyring import open_keyring
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.storage.engine.database import Database
from portico.storage.mcp_pins import McpPins
from portico.tools.mcp import link, source
from portico.tools.mcp.source import McpSource
from tests.portico.servers import free_port
from tests.portico.tools.mcp.strange import Running, Start, Strange, http_server


@pytest.fixture
def strange(tmp_path: Path) -> Strange:
    return Strange(tmp_path)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "LIST_EVERY_S", 0.1)
    monkeypatch.setattr(source, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(source, "LONGEST_PAUSE_S", 0.2)
    monkeypatch.setattr(source, "APPROVALS_EVERY_S", 0.05)
    monkeypatch.setattr(source, "MARGIN_S", 0.0)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a source on these servers; the database stays from one to the next."""
    home = Home(tmp_path / "home")
    home.make()
    database = Database.open(home, open_keyring(home, bytes(32)))
    watching: list[asyncio.Task[None]] = []

    def started(resolve: Callable[[str], str] = str, *, local_only: bool = True, **servers: Any) -> Running:
        settings = Settings.model_validate({"local_only": local_only, "mcp": {"servers": servers}})
        pins = McpPins(database)
        running = Running(McpSource(settings, home, pins, resolve), pins)
        watching.append(asyncio.create_task(running.watch()))
        return running

    yield started
    for task in watching:
        task.cancel()
    ended = await asyncio.gather(*watching, return_exceptions=True)
    database.close()
    assert all(isinstance(end, asyncio.CancelledError) for end in ended)


@pytest.fixture
def served(strange: Strange) -> Iterator[str]:
    """The same server over HTTP; its URL."""
    with http_server(strange, free_port()) as url:
        yield url
