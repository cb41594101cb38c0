"""How commands open the encrypted database of this home for one piece of work, running or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from portico.crypto.keyring import Keyring, open_keyring
from portico.settings.home import Home
from portico.settings.load import load_settings
from portico.storage.engine.database import Database

Answer = TypeVar("Answer")


def with_database(work: Callable[[Database, Keyring], Awaitable[Answer]]) -> Answer:
    """Raises `Misconfigured` where the database or its key does not fit."""

    async def run() -> Answer:
        home = Home.from_environment()
        home.make()
        keyring = open_keyring(home)
        database = Database.open(home, keyring, load_settings(home))
        try:
            return await work(database, keyring)
        finally:
            database.close()

    return asyncio.run(run())
