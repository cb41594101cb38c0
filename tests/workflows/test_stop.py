"""`/stop` acts at once, on what runs and on open tools, and only for whom it may."""

from __future__ import annotations

import pytest

from tests.workflows.harness import BOT, World, eventually
from tests.workflows.test_failures import FREE_TEXT

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def hang_a_model(world: World) -> None:
    world.model.say("The rain", " falls", stop_after=1)


async def model_is_writing(world: World) -> None:
    await world.model.until(lambda: world.model.open_streams == 1, what="the model writes")


async def test_there_may_be_nothing_to_stop(world: World) -> None:
    chat = world.new_chat()
    await world.say("/stop", chat=chat)
    assert "nothing of yours" in (await world.replies(chat))[0].text


async def test_stops_a_model_that_writes_and_says_nothing_more_of_it(world: World) -> None:
    chat = world.new_chat()
    await hang_a_model(world)
    broken_off = world.model.broken_off
    await world.say(FREE_TEXT, chat=chat)
    await model_is_writing(world)
    await world.say("stop", chat=chat)
    (reply,) = await world.replies(chat)
    assert reply.text == "Stopped."
    await world.model.until(lambda: world.model.broken_off > broken_off, what="the model is hung up on")
    await world.say("/calc 1 + 1", chat=chat)
    assert "2" in (await world.replies(chat, 2))[1].text
    assert await world.letters(chat) == []


async def test_stops_an_open_tool(world: World) -> None:
    chat = world.new_chat()
    world.gate.open.clear()
    await world.say("/time Tokyo", chat=chat)
    await eventually(lambda: world.gate.waiting == 1)
    await world.say("/stop", chat=chat)
    replies = await world.replies(chat, 2)
    assert {one.text for one in replies} == {"Stopped.", "time was stopped."}
    await eventually(lambda: world.gate.waiting == 0, what="the tool has ended")
    world.gate.open.set()
    await world.say("/time Tokyo", chat=chat)
    assert "Tokyo" in (await world.replies(chat, 3))[2].text


async def test_a_tool_leaves_the_conversation_free(world: World) -> None:
    chat = world.new_chat()
    world.gate.open.clear()
    asked = await world.say("/time Tokyo", chat=chat)
    await eventually(lambda: world.gate.waiting == 1)
    await world.say("/calc 1 + 1", chat=chat)
    assert "2" in (await world.replies(chat))[0].text
    world.gate.open.set()
    late = (await world.replies(chat, 2))[1]
    assert "Tokyo" in late.text
    assert late.payload["reply_parameters"]["message_id"] == asked["message"]["message_id"]


async def test_in_a_group_only_the_person_whose_turn_it_is_and_the_owner_stop_it(world: World) -> None:
    group, asker, other, owner = -world.new_chat(), 901, 902, 903
    await world.pair(asker)
    await world.pair(other)
    await world.pair(owner, role="owner")
    world.gate.open.clear()
    await world.say_in_group(f"@{BOT} /time Tokyo", group=group, sender=asker)
    await eventually(lambda: world.gate.waiting == 1)
    await world.say_in_group(f"/stop@{BOT}", group=group, sender=other)
    assert "nothing of yours" in (await world.replies(group))[0].text
    assert world.gate.waiting == 1
    await world.say_in_group(f"/stop@{BOT}", group=group, sender=owner)
    assert {one.text for one in (await world.replies(group, 3))[1:]} == {"Stopped.", "time was stopped."}

    await hang_a_model(world)
    await world.say_in_group(f"@{BOT} {FREE_TEXT}", group=group, sender=asker)
    await model_is_writing(world)
    await world.say_in_group(f"/stop@{BOT}", group=group, sender=other)
    assert "nothing of yours" in (await world.replies(group, 4))[3].text
    assert world.model.open_streams == 1
    await world.say_in_group(f"/stop@{BOT}", group=group, sender=asker)
    assert (await world.replies(group, 5))[4].text == "Stopped."
    assert await world.letters(group) == []


async def test_a_delivery_is_not_interrupted_by_a_stop(world: World) -> None:
    chat = world.new_chat()
    fault = world.faults.hang("deliver")
    await world.say("/help", chat=chat)
    await fault.reached.wait()
    await world.say("/stop", chat=chat)
    fault.released.set()
    texts = [one.text for one in await world.replies(chat, 2)]
    assert "private gateway" in texts[0]
    assert texts[1] == "Stopped."

    async def all_sent() -> bool:
        return [row.state for row in await world.rows(chat)] == ["sent", "sent"]

    await eventually(all_sent)
    assert not any(row.marked for row in await world.rows(chat))
