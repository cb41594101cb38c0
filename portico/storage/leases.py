"""Leases: one holder at a time for what must not run twice, such as the poll of an account."""

from __future__ import annotations

from portico.storage.engine.database import Database
from portico.storage.engine.sqlcipher import Connection


class Leases:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def acquire(self, name: str, holder: str, ttl_s: float, now: float) -> bool:
        """Take or renew a lease; False while another holder has it."""

        def work(connection: Connection) -> bool:
            taken = connection.execute(
                "INSERT INTO leases (name, holder, until) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE "
                "SET holder = excluded.holder, until = excluded.until "
                "WHERE leases.holder = excluded.holder OR leases.until <= ?",
                (name, holder, now + ttl_s, now),
            )
            return taken.rowcount == 1

        return await self._db.write(work)

    async def release(self, name: str, holder: str) -> None:
        def work(connection: Connection) -> None:
            connection.execute("DELETE FROM leases WHERE name = ? AND holder = ?", (name, holder))

        await self._db.write(work)
