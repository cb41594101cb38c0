"""MCP servers that want too much: endless lines and answers, redirects, other networks."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from portico.errors import Misconfigured
from portico.tools.mcp import link, stdio
from tests.portico.tools.mcp.strange import Start


async def test_a_line_without_an_end_ends_the_connection(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stdio, "LONGEST_LINE", 1 << 20)
    running = start(pal={"command": ["cat", "/dev/zero"]})
    (problem,) = await running.until(running.source.problems)
    assert problem.startswith("[mcp.servers.pal]: ")


async def test_in_local_mode_no_server_elsewhere_is_reached(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start(pal={"url": "https://mcp.example.com/mcp"})
    (problem,) = await running.until(running.source.problems)
    assert (
        problem
        == "[mcp.servers.pal]: nothing leaves this machine (local_only), and mcp.example.com is not it"
    )


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ({"command": ["/nowhere/at-all"]}, "there is no program /nowhere/at-all"),
        ({"command": ["false"]}, "its program ended with 1"),
        ({"command": ["sh", "-c", "echo no MCP; cat >/dev/null"]}, ""),
        ({"url": "http://127.0.0.1:1/mcp"}, "not reached (ConnectError)"),
        ({"url": "http://127.0.0.1:1/mcp", "token": "secret:none"}, "secret:none is not there"),
    ],
)
async def test_a_server_that_is_none_is_a_problem_and_nothing_else(
    start: Start, server: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "CONNECT_S", 1.0)

    def resolve(reference: str) -> str:
        raise Misconfigured(f"{reference} is not there")

    running = start(resolve, pal=server)
    (problem,) = await running.until(running.source.problems)
    assert problem.startswith("[mcp.servers.pal]: ")
    assert why in problem
    assert running.source.specs() == []


class Hostile:
    """A web server that answers every request with the same bytes, or with bytes that do not end."""

    def __init__(self, head: str, piece: bytes = b"", *, endless: bool = False) -> None:
        self._head = head
        self._piece = piece
        self._endless = endless
        self.visits = 0
        self.sent = 0
        self.port = 0

    async def __aenter__(self) -> Hostile:
        self._server = await asyncio.start_server(self._visit, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 {self._head}\r\nconnection: close\r\n\r\n".encode() + self._piece)
            while self._endless:
                await writer.drain()
                writer.write(self._piece)
                self.sent += len(self._piece)
            await writer.drain()
        writer.close()


JSON = "200 OK\r\ncontent-type: application/json"


EVENTS = "200 OK\r\ncontent-type: text/event-stream"


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (JSON, b" " * 65536),
        (EVENTS, b"data: " + b"x" * 65536),
        (EVENTS, b"data" * 16384),
        (JSON + "\r\ncontent-encoding: gzip", b"\x1f\x8b\x08" + b"\x00" * 65536),
    ],
    ids=["json", "event", "line", "packed"],
)
async def test_an_answer_that_does_not_end_is_not_kept(start: Start, head: str, piece: bytes) -> None:
    async with Hostile(head, piece, endless=True) as hostile:
        running = start(pal={"url": f"http://127.0.0.1:{hostile.port}/mcp"})
        (problem,) = await running.until(running.source.problems)
        assert problem.startswith("[mcp.servers.pal]: ")
        assert hostile.sent < 200 * 1024 * 1024
        assert running.source.specs() == []


async def test_a_redirect_to_another_place_is_not_followed(start: Start) -> None:
    async with Hostile(JSON, b"{}") as inside:
        there = f"http://127.0.0.1:{inside.port}/latest/meta-data/"
        for code in (301, 302, 303, 307, 308):
            async with Hostile(f"{code} There\r\nlocation: {there}\r\ncontent-length: 0") as hostile:
                running = start(pal={"url": f"http://127.0.0.1:{hostile.port}/mcp"})
                await running.until(running.source.problems)
                assert hostile.visits
        assert inside.visits == 0
