"""Data classes that owners set for conversations. Read at every decision, never cached."""

from __future__ import annotations

import time

from portico.storage.engine.database import Database
from portico.storage.engine.sqlcipher import Connection


class DataClasses:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def get(self, conversation_id: str) -> str | None:
        """The class set for this conversation; None if there is no such row."""

        def work(connection: Connection) -> str | None:
            row = connection.execute(
                "SELECT data_class FROM data_classes WHERE conversation_id = ?", (conversation_id,)
            ).fetchone()
            return str(row["data_class"]) if row is not None else None

        return await self._db.read(work)

    async def set(self, conversation_id: str, data_class: str, *, decision_id: str) -> None:
        """Applies from the next decision. `decision_id` is the decision that allowed it."""
        values = (conversation_id, data_class, decision_id, time.time())
        await self._db.write(
            lambda connection: (
                connection.execute(
                    "INSERT INTO data_classes (conversation_id, data_class, decision_id, at) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT (conversation_id) DO UPDATE SET data_class = excluded.data_class, "
                    "decision_id = excluded.decision_id, at = excluded.at",
                    values,
                ).rowcount
            ),
            durable=True,
        )
