"""Rows of the outbox as objects, and the SQL that makes, reads and changes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from portico.storage.engine.restored import was_under_way
from portico.storage.engine.sqlcipher import Connection
from portico.storage.engine.values import Private

_COLUMNS = (
    "row_id, conversation_id, turn_id, part, kind, seq, attempt, state, marked, held, payload, decision_id, "
    "platform_id, reason, chat_slot, account_slot, created_at, begun_at, finished_at"
)


@dataclass(frozen=True)
class NewRow:
    """A call of a platform that is to be made. `part` is its place in the turn; `payload` is JSON."""

    conversation_id: str
    turn_id: str
    part: int
    kind: str
    payload: str
    decision_id: str = ""

    @property
    def row_id(self) -> str:
        return f"{self.turn_id}:{self.part}"


@dataclass(frozen=True)
class OutboxRow:
    """A call of a platform and how far it is. `seq` counts the conversation's rows from 1, without gaps."""

    row_id: str
    conversation_id: str
    turn_id: str
    part: int
    kind: str
    seq: int
    attempt: int
    state: str
    marked: bool
    held: bool
    payload: str
    decision_id: str
    platform_id: str
    reason: str
    chat_slot: float | None
    account_slot: float | None
    created_at: float
    begun_at: float | None
    finished_at: float | None

    @property
    def final(self) -> bool:
        """No further attempt will be made."""
        return self.state in ("sent", "refused") or self.held


def fetch(connection: Connection, where: str, values: tuple[Any, ...]) -> tuple[OutboxRow, ...]:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM outbox WHERE {where}", values)
    return tuple(_of(tuple(row)) for row in rows)


def update(connection: Connection, row_id: str, change: str, values: tuple[Any, ...]) -> None:
    connection.execute(f"UPDATE outbox SET {change} WHERE row_id = ?", (*values, row_id))


def insert_missing(connection: Connection, rows: Sequence[NewRow], *, now: float) -> tuple[OutboxRow, ...]:
    """A row that is there stays as it is; a new one gets the conversation's next number."""
    stored = []
    for row in rows:
        existing = fetch(connection, "turn_id = ? AND part = ?", (row.turn_id, row.part))
        stored.append(existing[0] if existing else _insert(connection, row, now))
    return tuple(stored)


def _insert(connection: Connection, row: NewRow, now: float) -> OutboxRow:
    """A turn out of a backup may have been answered since that was made."""
    state = "unknown" if was_under_way(connection, row.conversation_id, row.turn_id) else "ready"
    made = OutboxRow(
        row_id=row.row_id, conversation_id=row.conversation_id, turn_id=row.turn_id, part=row.part,
        kind=row.kind, seq=_next_seq(connection, row.conversation_id, now), attempt=1, state=state,
        marked=False, held=False, payload=row.payload, decision_id=row.decision_id, platform_id="", reason="",
        chat_slot=None, account_slot=None, created_at=now, begun_at=None, finished_at=None,
    )  # fmt: skip
    values = tuple((vars(made) | {"payload": Private(made.payload)}).values())
    marks = ", ".join("?" for _ in values)
    connection.execute(f"INSERT INTO outbox ({_COLUMNS}) VALUES ({marks})", values)
    return made


def _next_seq(connection: Connection, conversation_id: str, now: float) -> int:
    """Counted in the conversation's row, so that no number is reused when rows are deleted."""
    row = connection.execute(
        "INSERT INTO conversations (id, channel, account, chat, title, last_seq, created_at, last_at) "
        "VALUES (?, '', '', '', '', 1, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET last_seq = conversations.last_seq + 1, last_at = excluded.last_at "
        "RETURNING last_seq",
        (conversation_id, now, now),
    ).fetchone()
    return int(row["last_seq"])


def _of(values: tuple[Any, ...]) -> OutboxRow:
    row = OutboxRow(*values)
    return replace(row, marked=bool(row.marked), held=bool(row.held))
