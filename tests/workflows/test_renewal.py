"""Continuing as new, twice, with everything open: nothing lost, nothing doubled, order kept."""

from __future__ import annotations

import pytest

from tests.workflows.faults import Fault
from tests.workflows.harness import World, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def hold_a_turn(world: World, chat: int) -> Fault:
    fault = world.faults.hang("deliver", when=lambda given: given.conversation == world.ref_of(chat))
    return fault


async def queued(world: World, chat: int, count: int) -> None:
    """So many messages of the chat have passed the policy."""
    here = world.ref_of(chat)
    await eventually(
        lambda: (
            len([c for c in world.faults.called("authorize_inbound") if c.given.conversation == here])
            >= count
        )
    )


async def test_continues_as_new_twice_with_a_tool_and_a_queue_open(world: World) -> None:
    chat = world.new_chat()
    world.gate.open.clear()
    asked = await world.say("/time Tokyo", chat=chat)
    await eventually(lambda: world.gate.waiting == 1)
    runs = [await world.run_id(chat)]
    updates = []
    fault = await hold_a_turn(world, chat)
    for name in ("a", "b", "c", "d"):
        updates.append(await world.say(f"/{name}", chat=chat))
    await fault.reached.wait()
    await queued(world, chat, 5)
    for name in ("e", "f"):
        await world.handle(chat).signal("renew")
        updates.append(await world.say(f"/{name}", chat=chat))  # an arrival that the old run does not take
        following = await hold_a_turn(world, chat)
        fault.released.set()
        runs.append(await world.renewed(chat, runs[-1]))
        fault = following
        await fault.reached.wait()
    for update in updates:
        await world.tell(update)
    fault.released.set()
    replies = await world.replies(chat, 6)
    assert [text.text.split("command ")[1].split(".")[0] for text in replies] == [
        "/a", "/b", "/c", "/d", "/e", "/f",
    ]  # fmt: skip
    world.gate.open.set()
    result = (await world.replies(chat, 7))[6]
    assert "Tokyo" in result.text
    assert result.payload["reply_parameters"]["message_id"] == asked["message"]["message_id"]
    await world.say("/calc 1 + 1", chat=chat)
    await world.replies(chat, 8)
    assert len(set(runs)) == 3
    assert await world.turns(chat) == 8
    assert await world.letters(chat) == []


async def test_what_is_carried_stays_small_in_the_history_however_long_the_queue(world: World) -> None:
    chat = world.new_chat()
    fault = await hold_a_turn(world, chat)
    await world.say("/first", chat=chat)
    await fault.reached.wait()
    for number in range(20):
        await world.say(f"/nothing{number} " + "长" * 4_000, chat=chat)
    await queued(world, chat, 21)
    before = await world.run_id(chat)
    await world.handle(chat).signal("renew")
    fault.released.set()
    await world.renewed(chat, before)
    run = world.client.get_workflow_handle(world.id_of(chat), run_id=before)
    (*_, last) = [event async for event in run.fetch_history_events()]
    carried = last.workflow_execution_continued_as_new_event_attributes.input
    assert 0 < carried.ByteSize() < 100_000
    replies = await world.replies(chat, 21)
    assert [one.text.split("/nothing")[1].split(".")[0] for one in replies[1:]] == list(map(str, range(20)))


async def test_a_tool_that_ends_while_its_conversation_renews_is_reported_once(world: World) -> None:
    chat = world.new_chat()
    world.gate.open.clear()
    await world.say("/time Tokyo", chat=chat)
    await eventually(lambda: world.gate.waiting == 1)
    before = await world.run_id(chat)
    fault = await hold_a_turn(world, chat)
    await world.say("/help", chat=chat)
    await fault.reached.wait()
    await world.handle(chat).signal("renew")
    world.gate.open.set()
    invocation = next(c.given.invocation_id for c in world.faults.calls[::-1] if c.name == "execute_tool")
    await world.client.get_workflow_handle(invocation).result()
    fault.released.set()
    await world.renewed(chat, before)
    texts = [one.text for one in await world.replies(chat, 2)]
    assert "private gateway" in texts[0]
    assert "Tokyo" in texts[1]
    await world.say("/calc 1 + 1", chat=chat)
    assert len(await world.replies(chat, 3)) == 3


async def test_a_stop_reaches_a_tool_that_an_earlier_run_started(world: World) -> None:
    chat = world.new_chat()
    world.gate.open.clear()
    await world.say("/time Tokyo", chat=chat)
    await eventually(lambda: world.gate.waiting == 1)
    before = await world.run_id(chat)
    await world.handle(chat).signal("renew")
    await world.renewed(chat, before)
    await world.say("/stop", chat=chat)
    assert {one.text for one in await world.replies(chat, 2)} == {"Stopped.", "time was stopped."}
