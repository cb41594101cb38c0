"""Tokens of platforms and routes, by name: the settings say `secret:NAME`, the database holds the value."""

from __future__ import annotations

import time

from portico.storage.engine.database import Database
from portico.storage.engine.sqlcipher import Connection
from portico.storage.engine.values import Private


class SecretStore:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def set(self, name: str, value: str) -> None:
        values = (name, Private(value), time.time())

        def work(connection: Connection) -> None:
            connection.execute(
                "INSERT INTO secrets (name, value, set_at) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value, set_at = excluded.set_at",
                values,
            )

        await self._db.write(work, durable=True)

    async def ensure(self, name: str, value: str) -> str:
        """The stored value; stores `value` where there was none. The first of two concurrent calls wins."""
        values = (name, Private(value), time.time())

        def work(connection: Connection) -> str:
            connection.execute(
                "INSERT INTO secrets (name, value, set_at) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING",
                values,
            )
            row = connection.execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()
            return str(row["value"])

        stored = await self.get(name)
        return stored if stored is not None else await self._db.write(work, durable=True)

    async def get(self, name: str) -> str | None:
        def work(connection: Connection) -> str | None:
            row = connection.execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()
            return str(row["value"]) if row is not None else None

        return await self._db.read(work)

    async def names(self) -> tuple[str, ...]:
        def work(connection: Connection) -> tuple[str, ...]:
            return tuple(row["name"] for row in connection.execute("SELECT name FROM secrets ORDER BY name"))

        return await self._db.read(work)

    async def delete(self, name: str) -> bool:
        """False if there was no such secret."""

        def work(connection: Connection) -> bool:
            return connection.execute("DELETE FROM secrets WHERE name = ?", (name,)).rowcount == 1

        return await self._db.write(work, durable=True)
