from __future__ import annotations

import asyncio

from portico.contracts.messages import ConversationRef
from portico.storage.engine.database import Database
from portico.storage.inbox import Inbox


async def test_a_key_of_another_turn_is_a_repeat(db: Database) -> None:
    inbox = Inbox(db)
    assert await inbox.claim("c", ("u1",), "t1", now=1)
    assert not await inbox.claim("c", ("u1",), "t2", now=2)


async def test_a_step_executed_again_recognizes_itself(db: Database) -> None:
    inbox = Inbox(db)
    assert await inbox.claim("c", ("u1", "u2"), "t1", now=1, text="hi")
    assert await inbox.claim("c", ("u1", "u2"), "t1", now=2, text="hi")


async def test_one_known_key_makes_the_event_a_repeat_and_its_other_keys_known(db: Database) -> None:
    inbox = Inbox(db)
    assert await inbox.claim("c", ("event-1", "post-9"), "t1", now=1)
    assert not await inbox.claim("c", ("event-2", "post-9"), "t2", now=2)
    assert not await inbox.claim("c", ("event-2",), "t3", now=3)
    assert await inbox.claim("c", ("event-2", "post-9"), "t1", now=4)


async def test_conversations_do_not_share_keys(db: Database) -> None:
    inbox = Inbox(db)
    assert await inbox.claim("c1", ("u1",), "t1", now=1)
    assert await inbox.claim("c2", ("u1",), "t2", now=1)


async def test_fifty_claims_at_once_give_one_turn(db: Database) -> None:
    inbox = Inbox(db)
    answers = await asyncio.gather(*(inbox.claim("c", ("u1",), f"t{n}", now=1) for n in range(50)))
    assert answers.count(True) == 1


async def test_pruned_keys_are_new_again_and_younger_ones_are_not(db: Database) -> None:
    inbox = Inbox(db)
    keys = tuple(f"old-{n}" for n in range(2500))
    await inbox.claim("c", keys, "t1", now=10)
    await inbox.claim("c", ("young",), "t2", now=20)
    assert await inbox.prune(before=20) == 2500
    assert await inbox.claim("c", ("old-7",), "t3", now=30)
    assert not await inbox.claim("c", ("young",), "t3", now=30)


async def test_an_event_without_keys_is_always_new(db: Database) -> None:
    inbox = Inbox(db)
    assert await inbox.claim("c", (), "t1", now=1)
    assert await inbox.claim("c", (), "t2", now=1)


async def test_a_claim_lists_the_conversation_once(db: Database) -> None:
    inbox = Inbox(db)
    ref = ConversationRef(id="c", channel="web", account="default", chat="x")
    await inbox.claim("c", ("u1",), "t1", now=1, text="first words", ref=ref)
    await inbox.claim("c", ("u2",), "t2", now=2, text="later words", ref=ref)
    rows = await db.read(
        lambda connection: connection.execute("SELECT title, last_at FROM conversations").fetchall()
    )
    assert [tuple(row) for row in rows] == [("first words", 2.0)]
