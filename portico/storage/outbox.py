"""Effectively-once delivery: a row for each call of a platform, `ready → sending → sent | refused | unknown`.

Every write compares the row's attempt, a fence that moves on whenever the row becomes ready again: whoever
holds an older attempt can change nothing. A row left `sending` has an unknown outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from portico.errors import NotFound
from portico.storage.engine.database import Database
from portico.storage.engine.sqlcipher import Connection
from portico.storage.engine.values import Private
from portico.storage.outbox_rows import NewRow, OutboxRow, fetch, insert_missing, update
from portico.storage.rates import RatesLike, forget_idle, reserve

EndState = Literal["sent", "refused", "unknown"]
BeginKind = Literal["go", "wait", "already_sent", "refused", "ambiguous", "held", "stale"]

_NO_SEQ = 2**62


@dataclass(frozen=True)
class Begun:
    """What to do now. `wait`: begin again at `wait_until`, which is reserved. `ambiguous`: repeat or hold.

    `stale`: a newer attempt owns the row.
    """

    kind: BeginKind
    row: OutboxRow
    wait_until: float = 0.0


class Outbox:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def waiting(self, *, now: float) -> tuple[int, float]:
        """How many messages have not left, and for how many seconds the oldest; held ones wait for a person."""

        def work(connection: Connection) -> tuple[int, float]:
            counted = connection.execute(
                "SELECT count(*), coalesce(min(created_at), ?) FROM outbox "
                "WHERE state IN ('ready', 'sending', 'unknown') AND held = 0",
                (now,),
            ).fetchone()
            return int(counted[0]), max(0.0, now - float(counted[1]))

        return await self._db.read(work)

    # --- before the call --------------------------------------------------------------------------------

    async def prepare(self, rows: Sequence[NewRow], *, now: float) -> tuple[OutboxRow, ...]:
        """Insert missing rows; stored ones are left unchanged. Keeps the order of the arguments."""
        return await self._db.write(
            lambda connection: insert_missing(connection, rows, now=now), durable=True
        )

    async def begin(
        self, row_id: str, *, attempt: int, rates: RatesLike, account_key: str, chat_key: str, now: float
    ) -> Begun:
        """Reserve a place and take the row, in one durable transaction. Only `go` allows the call."""

        def work(connection: Connection) -> Begun:
            row = _existing(connection, row_id)
            return _begin(connection, row, attempt, _Place(rates, account_key, chat_key), now)

        return await self._db.write(work, durable=True)

    async def prepare_and_begin_first(
        self, rows: Sequence[NewRow], *, rates: RatesLike, account_key: str, chat_key: str, now: float
    ) -> tuple[tuple[OutboxRow, ...], Begun | None]:
        """`prepare`, then `begin` of the first row that is not final (None: all are): one transaction."""

        def work(connection: Connection) -> tuple[tuple[OutboxRow, ...], Begun | None]:
            stored = insert_missing(connection, rows, now=now)
            first = next((row for row in stored if not row.final), None)
            if first is None:
                return stored, None
            begun = _begin(connection, first, first.attempt, _Place(rates, account_key, chat_key), now)
            return tuple(begun.row if row.row_id == begun.row.row_id else row for row in stored), begun

        return await self._db.write(work, durable=True)

    async def prepare_sent(self, rows: Sequence[NewRow], *, now: float) -> tuple[OutboxRow, ...]:
        """For channels that read the outbox themselves: the durable row is the delivery."""

        def work(connection: Connection) -> tuple[OutboxRow, ...]:
            stored = insert_missing(connection, rows, now=now)
            open_ids = [row.row_id for row in stored if not row.final]
            for row_id in open_ids:
                update(connection, row_id, "state = 'sent', begun_at = ?, finished_at = ?", (now, now))
            return tuple(_existing(connection, row.row_id) for row in stored) if open_ids else stored

        return await self._db.write(work, durable=True)

    # --- after the call ---------------------------------------------------------------------------------

    async def finish(
        self,
        row_id: str,
        *,
        attempt: int,
        state: EndState,
        platform_id: str = "",
        reason: str = "",
        now: float,
    ) -> bool:
        """Record the end of an attempt; False where a newer attempt owns the row. Durable.

        A result that comes after the row became `unknown` is still recorded while no newer attempt was made.
        """

        def work(connection: Connection) -> bool:
            row = _existing(connection, row_id)
            if row.attempt != attempt:
                return False
            if row.state == state:
                return True
            if row.state not in ("sending", "unknown"):
                return False
            change = "state = ?, platform_id = ?, reason = ?, finished_at = ?, held = 0"
            update(connection, row_id, change, (state, Private(platform_id), reason, now))
            return True

        return await self._db.write(work, durable=True)

    async def back_to_ready(self, row_id: str, *, attempt: int, reason: str) -> OutboxRow:
        """The platform definitely did not take it: ready again, without a mark, as a new attempt."""
        return await self._again(row_id, attempt=attempt, states=("sending",), reason=reason, marked=None)

    async def repeat_marked(self, row_id: str, *, attempt: int) -> OutboxRow:
        """Unknown → ready with a visible mark. A row that has moved on is returned as it is."""
        return await self._again(
            row_id, attempt=attempt, states=("sending", "unknown"), reason="repeated", marked=True
        )

    async def repeat_keyed(self, row_id: str, *, attempt: int) -> OutboxRow:
        """Unknown → ready for a platform that recognizes the repeat by its idempotency key: no mark."""
        return await self._again(
            row_id, attempt=attempt, states=("sending", "unknown"), reason="repeated", marked=None
        )

    async def hold(self, row_id: str, *, reason: str = "") -> OutboxRow:
        """Unknown for good: no further attempt. The caller writes the dead letter. Final rows stay."""

        def work(connection: Connection) -> OutboxRow:
            row = _existing(connection, row_id)
            if row.state in ("sending", "unknown"):
                change = "state = 'unknown', held = 1, reason = CASE WHEN ? = '' THEN reason ELSE ? END"
                update(connection, row_id, change, (reason, reason))
            return _existing(connection, row_id)

        return await self._db.write(work, durable=True)

    async def _again(
        self, row_id: str, *, attempt: int, states: tuple[str, ...], reason: str, marked: bool | None
    ) -> OutboxRow:
        def work(connection: Connection) -> OutboxRow:
            row = _existing(connection, row_id)
            if row.attempt == attempt and row.state in states and not row.held:
                change = (
                    "state = 'ready', attempt = attempt + 1, marked = ?, reason = ?, "
                    "chat_slot = NULL, account_slot = NULL"
                )
                mark = row.marked if marked is None else marked
                update(connection, row_id, change, (int(mark), reason))
            return _existing(connection, row_id)

        return await self._db.write(work, durable=True)

    # --- reading ----------------------------------------------------------------------------------------

    async def get(self, row_id: str) -> OutboxRow | None:
        rows = await self._db.read(lambda connection: fetch(connection, "row_id = ?", (row_id,)))
        return rows[0] if rows else None

    async def of_turn(self, turn_id: str) -> tuple[OutboxRow, ...]:
        return await self._db.read(
            lambda connection: fetch(connection, "turn_id = ? ORDER BY part", (turn_id,))
        )

    async def tail(self, conversation_id: str, after_seq: int, limit: int = 200) -> tuple[OutboxRow, ...]:
        """Sent rows after `after_seq`, in order, up to a row that may still be sent: none is missed."""
        where = (
            "conversation_id = ? AND seq > ? AND state = 'sent' AND seq < coalesce("
            "(SELECT min(seq) FROM outbox WHERE conversation_id = ? AND seq > ? "
            "AND state IN ('ready', 'sending', 'unknown') AND held = 0), ?) "
            "ORDER BY seq LIMIT ?"
        )
        values = (conversation_id, after_seq, conversation_id, after_seq, _NO_SEQ, limit)
        return await self._db.read(lambda connection: fetch(connection, where, values))

    async def recent(self, conversation_id: str, limit: int) -> tuple[OutboxRow, ...]:
        """The newest sent rows, oldest first."""
        where = "conversation_id = ? AND state = 'sent' ORDER BY seq DESC LIMIT ?"
        return (await self._db.read(lambda connection: fetch(connection, where, (conversation_id, limit))))[
            ::-1
        ]

    async def forget_idle_rates(self, *, now: float) -> int:
        return await self._db.write(lambda connection: forget_idle(connection, now=now))


@dataclass(frozen=True)
class _Place:
    rates: RatesLike
    account_key: str
    chat_key: str


def _existing(connection: Connection, row_id: str) -> OutboxRow:
    rows = fetch(connection, "row_id = ?", (row_id,))
    if not rows:
        raise NotFound(f"outbox row {row_id}")
    return rows[0]


def _begin(connection: Connection, row: OutboxRow, attempt: int, place: _Place, now: float) -> Begun:
    if row.state == "sent":
        return Begun("already_sent", row)
    if row.state == "refused":
        return Begun("refused", row)
    if row.held:
        return Begun("held", row)
    if row.attempt != attempt:
        return Begun("stale", row)
    if row.state != "ready":
        update(connection, row.row_id, "state = 'unknown'", ())
        return Begun("ambiguous", _existing(connection, row.row_id))
    free_at = _reserve(connection, row, place, now)
    if free_at > now:
        return Begun("wait", row, wait_until=free_at)
    update(connection, row.row_id, "state = 'sending', begun_at = ?", (now,))
    return Begun("go", _existing(connection, row.row_id))


def _reserve(connection: Connection, row: OutboxRow, place: _Place, now: float) -> float:
    """The chat's place first; the account's only when the chat's has come. Both are kept in the row."""
    rates = place.rates
    chat_slot = row.chat_slot
    if chat_slot is None:
        chat_bucket = f"chat:{place.account_key}:{place.chat_key}"
        chat_slot = reserve(connection, chat_bucket, per_s=rates.per_chat_per_s, burst=rates.burst, now=now)
        update(connection, row.row_id, "chat_slot = ?", (chat_slot,))
    if chat_slot > now:
        return chat_slot
    account_slot = row.account_slot
    if account_slot is None:
        bucket = f"account:{place.account_key}"
        account_slot = reserve(connection, bucket, per_s=rates.per_s, burst=rates.per_s, now=now)
        update(connection, row.row_id, "account_slot = ?", (account_slot,))
    return account_slot
