"""Reserved times of sending, in the database, so that every worker sees the same ones.

Each bucket holds when its next call is due. A chat is reserved first and its account only when the chat's
time has come: a busy chat's far-away reservation must not hold up the account's other chats.
"""

from __future__ import annotations

from typing import Protocol

from portico.storage.engine.sqlcipher import Connection
from portico.storage.engine.values import Sought

LONGEST_WAIT_S = 3600.0
"""A due time further away than this comes from a clock that was set back, and counts for nothing."""


class RatesLike(Protocol):
    """Calls a second, 0 for no limit, and how many of a chat may go at once after a rest."""

    @property
    def per_s(self) -> float: ...
    @property
    def per_chat_per_s(self) -> float: ...
    @property
    def burst(self) -> int: ...


def reserve(connection: Connection, bucket: str, *, per_s: float, burst: float, now: float) -> float:
    """Reserve the next free slot of a bucket; returns its time, not before `now`."""
    if per_s <= 0:
        return now
    interval = 1.0 / per_s
    row = connection.execute("SELECT due FROM rates WHERE bucket = ?", (Sought(bucket),)).fetchone()
    due = row["due"] if row is not None else now
    if due > now + LONGEST_WAIT_S:
        due = now
    slot = max(now, due - (max(burst, 1) - 1) * interval)
    connection.execute(
        "INSERT INTO rates (bucket, due) VALUES (?, ?) ON CONFLICT (bucket) DO UPDATE SET due = excluded.due",
        (Sought(bucket), max(due, slot) + interval),
    )
    return float(slot)


def forget_idle(connection: Connection, *, now: float) -> int:
    """Delete buckets whose due time has passed."""
    return int(connection.execute("DELETE FROM rates WHERE due < ?", (now - LONGEST_WAIT_S,)).rowcount)
