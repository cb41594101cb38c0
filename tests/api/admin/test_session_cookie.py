"""The session's cookie goes out on encrypted connections alone, wherever TLS ends."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest
from fastapi import FastAPI

from api.admin import login
from portico.crypto.keyring import open_keyring
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.storage.access import Access
from portico.storage.engine.database import Database
from portico.storage.people import People


async def _flags(home: Home, database: Database, asked: str, public_url: str) -> set[str]:
    """What the cookie is marked with, where `asked` is the URL that reaches the edge."""
    app, access = FastAPI(), Access(database)
    app.include_router(login.router)
    app.state.deps = SimpleNamespace(access=access, settings=Settings(public_url=public_url))
    token = await access.make_login(await People(database, open_keyring(home)).ensure_owner())
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=asked) as client:
        answer = await client.get("/login", params={"token": token})
    return {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}


@pytest.mark.parametrize(
    ("asked", "public_url", "encrypted"),
    [
        ("http://edge", "", False),
        ("https://edge", "", True),
        ("http://edge", "https://chat.example.com", True),
        ("http://edge", "http://chat.example.com", False),
    ],
)
def test_is_marked_wherever_tls_ends(tmp_path: Path, asked: str, public_url: str, encrypted: bool) -> None:
    home = Home(tmp_path)
    home.make()
    database = Database.open(home, open_keyring(home))
    try:
        flags = asyncio.run(_flags(home, database, asked, public_url))
    finally:
        database.close()
    assert ("secure" in flags) is encrypted
    assert {"httponly", "samesite=strict"} <= flags
