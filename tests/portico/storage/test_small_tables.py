"""Dead letters, decisions, secrets and leases."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from portico.contracts.messages import Decision, Effect
from portico.storage.dead_letters import CAUSE_LENGTH, DeadLetter, DeadLetters
from portico.storage.decisions import Decisions
from portico.storage.engine.database import Database
from portico.storage.leases import Leases
from portico.storage.secrets import SecretStore

LETTER = DeadLetter("dl-1", "c", "t1", "hook", "default", "unreadable", "no chat in it", '{"schema": 1}', 5.0)


async def test_a_dead_letter_is_kept_once_and_whole(db: Database) -> None:
    letters = DeadLetters(db)
    await letters.add(replace(LETTER, cause="x" * 10_000))
    await letters.add(replace(LETTER, cause="another"))
    stored = await letters.get("dl-1")
    assert stored == replace(LETTER, cause="x" * CAUSE_LENGTH)


async def test_a_closed_letter_is_closed_by_one(db: Database) -> None:
    letters = DeadLetters(db)
    await letters.add(LETTER)
    assert sorted(
        await asyncio.gather(letters.close("dl-1", "retried"), letters.close("dl-1", "dropped"))
    ) == [
        False,
        True,
    ]
    assert not await letters.close("dl-9", "dropped")
    assert await letters.list() == ()
    [closed] = await letters.list(open_only=False)
    assert closed.closed_how in ("retried", "dropped")


async def test_a_decision_is_recorded_once(db: Database) -> None:
    decision = Decision(effect=Effect.DENY, reasons=("no rule allowed it",), decision_id="d1", revision="r1")
    for _ in range(2):
        await Decisions(db).record(decision, "tool", "abc", now=1)
    rows = await db.read(lambda connection: connection.execute("SELECT * FROM decisions").fetchall())
    assert [(row["decision_id"], row["effect"], row["reasons"]) for row in rows] == [
        ("d1", "deny", '["no rule allowed it"]')
    ]


async def test_secrets_are_kept_by_name(db: Database) -> None:
    store = SecretStore(db)
    assert await store.get("token") is None
    await store.set("token", "one")
    await store.set("token", "two")
    await store.set("other", "three")
    assert await store.get("token") == "two"
    assert await store.names() == ("other", "token")
    assert await store.delete("token")
    assert not await store.delete("token")


async def test_a_lease_has_one_holder_at_a_time(db: Database) -> None:
    leases = Leases(db)
    assert await leases.acquire("poll", "a", ttl_s=10, now=0)
    assert not await leases.acquire("poll", "b", ttl_s=10, now=9)
    assert await leases.acquire("poll", "a", ttl_s=10, now=9)
    assert not await leases.acquire("poll", "b", ttl_s=10, now=18)
    assert await leases.acquire("poll", "b", ttl_s=10, now=19)
    await leases.release("poll", "a")
    assert not await leases.acquire("poll", "a", ttl_s=10, now=20)
    await leases.release("poll", "b")
    assert await leases.acquire("poll", "a", ttl_s=10, now=20)
