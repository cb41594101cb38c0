"""What was said: written after the reply, read as context of later turns and by the chat page.

The page's history joins three places: remembered lines, messages that no turn has remembered yet, and replies
that were sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from portico.storage.engine.database import Database
from portico.storage.engine.sqlcipher import Connection
from portico.storage.engine.values import Private, Words
from portico.storage.engine.words import has_all, words_of

_END_OF_TIME = 1e18
Role = Literal["user", "assistant"]


@dataclass(frozen=True)
class MemoryLine:
    """One thing that was said. `quotes` is the id of the message that it answers."""

    role: Role
    text: str
    at: float
    quotes: str = ""


@dataclass(frozen=True)
class HistoryLine:
    """A line as the chat page shows it. A reply has a `seq` and the `payload` (JSON) that was delivered."""

    role: Role
    text: str
    at: float
    turn_id: str
    message_id: str = ""
    quotes: str = ""
    seq: int = 0
    payload: str = ""


@dataclass(frozen=True)
class ConversationSummary:
    id: str
    channel: str
    account: str
    chat: str
    title: str
    last_at: float
    last_seq: int


class Memory:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def remember(self, conversation_id: str, turn_id: str, lines: Sequence[MemoryLine]) -> None:
        """Keep the lines of a turn, once; the message that waited in the inbox is replaced by them."""

        def work(connection: Connection) -> None:
            turn = (conversation_id, turn_id)
            known = "SELECT 1 FROM memory WHERE conversation_id = ? AND turn_id = ? LIMIT 1"
            if connection.execute(known, turn).fetchone() is None:
                _insert_lines(connection, conversation_id, turn_id, lines)
            if any(line.role == "user" for line in lines):
                connection.execute(
                    "DELETE FROM inbox_messages WHERE conversation_id = ? AND turn_id = ?", turn
                )

        await self._db.write(work)

    async def recent(self, conversation_id: str, limit: int) -> tuple[MemoryLine, ...]:
        """The newest lines, oldest first."""

        def work(connection: Connection) -> tuple[MemoryLine, ...]:
            rows = connection.execute(
                "SELECT role, text, at, quotes FROM memory WHERE conversation_id = ? "
                "ORDER BY at DESC, id DESC LIMIT ?",
                (conversation_id, limit),
            ).fetchall()
            return tuple(MemoryLine(*row) for row in reversed(rows))

        return await self._db.read(work)

    async def history(
        self, conversation_id: str, before: float | None = None, limit: int = 50
    ) -> tuple[HistoryLine, ...]:
        """The newest lines before a time, oldest first. The first line's `at` leads to the page before."""
        page = (conversation_id, _END_OF_TIME if before is None else before, limit)

        def work(connection: Connection) -> list[HistoryLine]:
            return [
                *_remembered(connection, page),
                *_waiting(connection, page),
                *_delivered(connection, page),
            ]

        lines = await self._db.read(work)
        lines.sort(key=lambda line: (line.at, line.seq))
        return tuple(_said_once(lines)[-limit:])

    async def search(self, conversation_id: str, text: str, limit: int = 50) -> tuple[HistoryLine, ...]:
        """The newest lines that have every word of the text, oldest first; none for a text without words."""
        if not words_of(text):
            return ()

        def work(connection: Connection) -> tuple[HistoryLine, ...]:
            condition, values = has_all(connection, text)
            rows = connection.execute(
                "SELECT memory.role, memory.text, memory.at, memory.turn_id, memory.message_id, memory.quotes "
                "FROM memory JOIN memory_words ON memory_words.rowid = memory.id "
                f"WHERE memory.conversation_id = ? AND {condition} ORDER BY memory.at DESC, memory.id DESC LIMIT ?",
                (conversation_id, *values, limit),
            ).fetchall()
            return tuple(HistoryLine(*row) for row in reversed(rows))

        return await self._db.read(work)

    async def conversations(
        self, channel: str, limit: int = 50, *, chat_prefix: str = ""
    ) -> tuple[ConversationSummary, ...]:
        """A channel's conversations, the one used last first, of chats that begin with `chat_prefix`."""

        def work(connection: Connection) -> tuple[ConversationSummary, ...]:
            where = "channel = ? AND substr(chat, 1, ?) = ? ORDER BY last_at DESC LIMIT ?"
            return _summaries(connection, where, (channel, len(chat_prefix), chat_prefix, limit))

        return await self._db.read(work)

    async def conversation(self, conversation_id: str) -> ConversationSummary | None:
        summaries = await self._db.read(
            lambda connection: _summaries(connection, "id = ?", (conversation_id,))
        )
        return summaries[0] if summaries else None


def _said_once(lines: list[HistoryLine]) -> list[HistoryLine]:
    """A message that was tried again had two turns; it was said once."""
    seen: set[str] = set()
    kept = []
    for line in lines:
        if line.role == "user" and line.message_id:
            if line.message_id in seen:
                continue
            seen.add(line.message_id)
        kept.append(line)
    return kept


def _insert_lines(
    connection: Connection, conversation_id: str, turn_id: str, lines: Sequence[MemoryLine]
) -> None:
    message = connection.execute(
        "SELECT message_id FROM inbox_messages WHERE conversation_id = ? AND turn_id = ?",
        (conversation_id, turn_id),
    ).fetchone()
    for number, line in enumerate(lines):
        message_id = message["message_id"] if message is not None and line.role == "user" else ""
        row = connection.execute(
            "INSERT INTO memory (conversation_id, turn_id, line, role, text, quotes, message_id, at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                conversation_id,
                turn_id,
                number,
                line.role,
                Private(line.text),
                Private(line.quotes),
                Private(message_id),
                line.at,
            ),
        ).fetchone()
        connection.execute(
            "INSERT INTO memory_words (rowid, text) VALUES (?, ?)", (row["id"], Words(line.text))
        )


def _remembered(connection: Connection, page: tuple[str, float, int]) -> list[HistoryLine]:
    """What a turn sent is shown from the outbox, as it was delivered, and not a second time from memory."""
    rows = connection.execute(
        "SELECT role, text, at, turn_id, message_id, quotes FROM memory WHERE conversation_id = ? AND at < ? "
        "AND (role = 'user' OR NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.turn_id = memory.turn_id "
        "AND outbox.state = 'sent')) "
        "ORDER BY at DESC, id DESC LIMIT ?",
        page,
    )
    return [HistoryLine(*row) for row in rows]


def _waiting(connection: Connection, page: tuple[str, float, int]) -> list[HistoryLine]:
    rows = connection.execute(
        "SELECT text, at, turn_id, message_id FROM inbox_messages WHERE conversation_id = ? AND at < ? "
        "ORDER BY at DESC LIMIT ?",
        page,
    )
    return [HistoryLine("user", *row) for row in rows]


def _delivered(connection: Connection, page: tuple[str, float, int]) -> list[HistoryLine]:
    rows = connection.execute(
        "SELECT finished_at, turn_id, seq, payload FROM outbox WHERE conversation_id = ? AND state = 'sent' "
        "AND finished_at < ? ORDER BY finished_at DESC, seq DESC LIMIT ?",
        page,
    )
    return [
        HistoryLine("assistant", "", at, turn_id, seq=seq, payload=payload)
        for at, turn_id, seq, payload in rows
    ]


def _summaries(
    connection: Connection, where: str, values: tuple[Any, ...]
) -> tuple[ConversationSummary, ...]:
    columns = "id, channel, account, chat, title, last_at, last_seq"
    rows = connection.execute(f"SELECT {columns} FROM conversations WHERE {where}", values)
    return tuple(ConversationSummary(*row) for row in rows)
