"""Dead letters: events whose processing failed for good, stored with their cause for a manual retry."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from portico.storage.engine.database import Database
from portico.storage.engine.sqlcipher import Connection
from portico.storage.engine.values import Private

CAUSE_LENGTH = 500
_COLUMNS = (
    "id, conversation_id, turn_id, channel, account, code, cause, event_json, "
    "created_at, closed_at, closed_how"
)


@dataclass(frozen=True)
class DeadLetter:
    """`code` is the error's; `cause` is short and carries no content; `event_json` is the whole envelope."""

    id: str
    conversation_id: str
    turn_id: str
    channel: str
    account: str
    code: str
    cause: str
    event_json: str
    created_at: float
    closed_at: float | None = None
    closed_how: str = ""


class DeadLetters:
    def __init__(self, db: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._db = db
        self._clock = clock

    async def add(self, letter: DeadLetter) -> None:
        """Insert durably; an existing row is left unchanged."""
        values = vars(letter) | {
            "cause": Private(letter.cause[:CAUSE_LENGTH]),
            "event_json": Private(letter.event_json),
        }
        marks = ", ".join("?" for _ in values)
        statement = f"INSERT INTO dead_letters ({_COLUMNS}) VALUES ({marks}) ON CONFLICT DO NOTHING"

        def work(connection: Connection) -> None:
            connection.execute(statement, tuple(values.values()))

        await self._db.write(work, durable=True)

    async def list(self, open_only: bool = True, *, limit: int = 1000) -> tuple[DeadLetter, ...]:
        """The newest letters, newest first."""
        where = "closed_at IS NULL" if open_only else "1 = 1"
        return await self._fetch(f"{where} ORDER BY created_at DESC, id LIMIT ?", (limit,))

    async def get(self, letter_id: str) -> DeadLetter | None:
        letters = await self._fetch("id = ?", (letter_id,))
        return letters[0] if letters else None

    async def close(self, letter_id: str, how: str) -> bool:
        """False if it does not exist or is closed already: whoever closes it first may retry it."""
        now = self._clock()

        def work(connection: Connection) -> bool:
            change = (
                "UPDATE dead_letters SET closed_at = ?, closed_how = ? WHERE id = ? AND closed_at IS NULL"
            )
            return connection.execute(change, (now, how, letter_id)).rowcount == 1

        return await self._db.write(work, durable=True)

    async def count_open(self) -> int:
        """The number of open dead letters."""

        def work(connection: Connection) -> int:
            counted = connection.execute("SELECT count(*) AS open FROM dead_letters WHERE closed_at IS NULL")
            return int(counted.fetchone()[0])

        return await self._db.read(work)

    async def any_open(self, conversation_id: str) -> bool:
        """Whether a conversation has an open dead letter."""
        return bool(
            await self._fetch("closed_at IS NULL AND conversation_id = ? LIMIT 1", (conversation_id,))
        )

    async def _fetch(self, where: str, values: tuple[Any, ...]) -> tuple[DeadLetter, ...]:
        def work(connection: Connection) -> tuple[DeadLetter, ...]:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM dead_letters WHERE {where}", values)
            return tuple(DeadLetter(*row) for row in rows)

        return await self._db.read(work)
