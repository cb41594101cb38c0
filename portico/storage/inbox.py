"""The authority on repeats: each deduplication key of a conversation belongs to one turn.

Claiming is a turn's first step. The turn's id is the owner, so that a step that is executed again recognizes
itself. The text stays here for the chat's history until the turn is remembered.
"""

from __future__ import annotations

from portico.contracts.messages import ConversationRef
from portico.storage.engine.database import Database
from portico.storage.engine.sqlcipher import Connection
from portico.storage.engine.values import Private, Sought
from portico.storage.people import DIRECT_CHANNEL

TITLE_LENGTH = 80
_PRUNED_AT_ONCE = 1000


class Inbox:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def claim(
        self,
        conversation_id: str,
        keys: tuple[str, ...],
        turn_id: str,
        *,
        now: float,
        text: str = "",
        sender_id: str = "",
        message_id: str = "",
        ref: ConversationRef | None = None,
    ) -> bool:
        """Whether this turn is to run: False where any key belongs to another turn. Synced to the disk.

        `message_id` is the sender's own id of it (default: the first key); `ref` lists the conversation.
        """

        def work(connection: Connection) -> bool:
            owners = _owners(connection, conversation_id, keys)
            others = owners - {turn_id}
            # a new key next to a known one is another name of the same event
            _own(connection, conversation_id, keys, min(others) if others else turn_id, now)
            if others:
                return False
            if not owners:
                message = (
                    conversation_id,
                    turn_id,
                    Private(message_id or (keys[0] if keys else turn_id)),
                    Private(sender_id),
                    Private(text),
                    now,
                )
                _keep_message(connection, message)
                if ref is not None:
                    _list_conversation(connection, ref, title=text[:TITLE_LENGTH], now=now)
            return True

        return await self._db.write(work, durable=True)

    async def turn_of(self, conversation_id: str, key: str) -> str | None:
        """The turn that owns a key, if the event has arrived."""

        def work(connection: Connection) -> str | None:
            return next(iter(_owners(connection, conversation_id, (key,))), None)

        return await self._db.read(work)

    async def prune(self, before: float) -> int:
        """Forget keys that were claimed before that time; how many. Others get their turn in between."""
        pruned = 0
        while (some := await self._db.write(lambda connection: _prune_some(connection, before))) > 0:
            pruned += some
        return pruned


def _owners(connection: Connection, conversation_id: str, keys: tuple[str, ...]) -> set[str]:
    if not keys:
        return set()
    marks = ", ".join("?" for _ in keys)
    rows = connection.execute(
        f"SELECT DISTINCT turn_id FROM inbox WHERE conversation_id = ? AND dedup_key IN ({marks})",
        (conversation_id, *map(Sought, keys)),
    )
    return {row["turn_id"] for row in rows}


def _own(
    connection: Connection, conversation_id: str, keys: tuple[str, ...], turn_id: str, now: float
) -> None:
    connection.executemany(
        "INSERT INTO inbox (conversation_id, dedup_key, turn_id, claimed_at) "
        "VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        [(conversation_id, Sought(key), turn_id, now) for key in keys],
    )


def _keep_message(connection: Connection, message: tuple[str, str, str, str, str, float]) -> None:
    connection.execute(
        "INSERT INTO inbox_messages (conversation_id, turn_id, message_id, sender_id, text, at) "
        "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        message,
    )


def _list_conversation(connection: Connection, ref: ConversationRef, *, title: str, now: float) -> None:
    connection.execute(
        "INSERT INTO conversations (id, channel, account, chat, title, last_seq, created_at, last_at) "
        "VALUES (?, ?, ?, ?, ?, 0, ?, ?) ON CONFLICT (id) DO UPDATE SET channel = excluded.channel, "
        "account = excluded.account, chat = excluded.chat, last_at = excluded.last_at, "
        "title = CASE WHEN conversations.title = '' THEN excluded.title ELSE conversations.title END",
        (ref.id, ref.channel, ref.account, _chat(ref), Private(title), now, now),
    )


def _chat(ref: ConversationRef) -> str:
    """A web chat is an id of our own and is searched by prefix; a platform's chat id identifies a person."""
    return ref.chat if ref.channel == DIRECT_CHANNEL else Sought(ref.chat)


def _prune_some(connection: Connection, before: float) -> int:
    cursor = connection.execute(
        "DELETE FROM inbox WHERE (conversation_id, dedup_key) IN "
        "(SELECT conversation_id, dedup_key FROM inbox WHERE claimed_at < ? LIMIT ?)",
        (before, _PRUNED_AT_ONCE),
    )
    return int(cursor.rowcount)
