"""One turn for each event, and no event that is dropped, whatever its shape."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import pytest

from portico.contracts.steps import KeptEvent
from tests.workflows.harness import World, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def start(world: World, chat: int) -> None:
    """A conversation that exists, with one reply."""
    await world.say("/help", chat=chat)
    await world.replies(chat)


async def test_an_event_that_is_repeated_at_once_and_later_is_one_turn(world: World) -> None:
    chat = world.new_chat()
    update = world.telegram.text("/calc 2 + 3", chat=chat)
    await asyncio.gather(*(world.tell(update) for _ in range(20)))
    await world.replies(chat)
    await world.tell(update)
    await world.say("/help", chat=chat)
    replies = await world.replies(chat, 2)
    assert "5" in replies[0].text
    assert "private gateway" in replies[1].text
    assert await world.turns(chat) == 2


async def test_an_event_is_not_answered_again_by_a_conversation_that_was_terminated(world: World) -> None:
    chat = world.new_chat()
    update = await world.say("/help", chat=chat)
    await world.replies(chat)
    before = await world.run_id(chat)
    await world.handle(chat).terminate("a person did it")
    await world.tell(update)
    assert await world.run_id(chat) != before
    await world.say("/calc 6 * 7", chat=chat)
    replies = await world.replies(chat, 2)
    assert "42" in replies[1].text
    assert await world.turns(chat) == 1, "the inbox knew the repeat, the new run did not"


@pytest.mark.parametrize(
    "envelope",
    [
        {},
        {"body": None},
        {"body": "words"},
        {"body": 7, "dedup_keys": ["k"]},
        {"body": {"update_id": "not a number", "message": 5}},
        {"body": {}, "schema": 99, "dedup_keys": ["a"], "received_at": 1.5, "mood": "new"},
        {"body": {}, "attachments": ["no object"]},
        {"body": {}, "dedup_keys": 5, "schema": "ninety-nine"},
        "no object at all",
        None,
        [1, 2],
    ],
    ids=str,
)
async def test_an_event_that_is_not_understood_is_a_dead_letter_and_never_dropped(
    world: World, envelope: Any
) -> None:
    chat = world.new_chat()
    await start(world, chat)
    await world.signal(chat, envelope)
    letter = await world.letter(chat)
    assert letter.code == "unreadable"
    assert letter.event_json
    await world.say("/calc 1 + 1", chat=chat)
    assert "2" in (await world.replies(chat, 2))[1].text


async def test_an_envelope_of_a_newer_release_is_answered(world: World) -> None:
    chat = world.new_chat()
    await start(world, chat)
    update = world.telegram.text("/calc 40 + 2", chat=chat)
    update["message"]["from"]["is_premium"] = True
    update["message"]["newer"] = {"what": ["ever"]}
    envelope = {
        "schema": 99,
        "dedup_keys": [f"telegram:default:{update['update_id']}"],
        "received_at": time.time(),
        "turn": uuid.uuid4().hex,
        "body": update,
        "body_blob": None,
        "attachments": [],
        "importance": {"level": 3},
    }
    await world.signal(chat, envelope)
    assert "42" in (await world.replies(chat, 2))[1].text


async def test_an_envelope_with_only_a_body_is_answered(world: World) -> None:
    chat = world.new_chat()
    await start(world, chat)
    await world.signal(chat, {"body": world.telegram.text("/calc 40 + 2", chat=chat)})
    assert "42" in (await world.replies(chat, 2))[1].text


async def test_a_large_event_travels_as_a_blob(world: World) -> None:
    chat = world.new_chat()
    update = world.telegram.text("/calc 40 + 2", chat=chat)
    update["message"]["newer"] = "x" * 200_000
    await world.tell(update)
    assert "42" in (await world.replies(chat))[0].text
    (call,) = [
        one for one in world.faults.called("normalize") if one.given.conversation == world.ref_of(chat)
    ]
    assert call.given.envelope.body_blob is not None
    assert call.given.envelope.body is None


async def test_a_dead_letter_that_is_tried_again_is_a_turn_of_its_own(world: World) -> None:
    chat = world.new_chat()
    world.faults.fail("deliver", RuntimeError("a bug"), when=lambda given: given.kind == "reply")
    await world.say("/calc 40 + 2", chat=chat)
    letter = await world.letter(chat)
    await world.replies(chat)
    world.faults.clear()
    kept = KeptEvent.model_validate_json(letter.event_json)
    again = kept.envelope.model_copy(update={"turn": uuid.uuid4().hex, "dedup_keys": (f"retry:{letter.id}",)})
    await asyncio.gather(*(world.intake.signal(kept.conversation, again) for _ in range(3)))
    replies = await world.replies(chat, 2)
    assert "42" in replies[1].text
    await world.say("/help", chat=chat)
    assert "private gateway" in (await world.replies(chat, 3))[2].text
    rows = await world.rows(chat)
    assert len({row.turn_id for row in rows}) == len(rows)


async def test_messages_are_answered_in_the_order_in_which_they_were_stored(world: World) -> None:
    chat = world.new_chat()
    world.faults.hang("deliver", when=lambda given: given.conversation == world.ref_of(chat))
    for number in range(12):
        await world.say(f"/nothing{number}", chat=chat)
    await eventually(lambda: len(world.faults.called("deliver")) > 0)
    world.faults.clear()
    texts = [one.text for one in await world.replies(chat, 12)]
    assert [text.split("/nothing")[1].split(".")[0].split("`")[0] for text in texts] == [
        str(number) for number in range(12)
    ]
