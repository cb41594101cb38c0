"""A worker that goes away in the middle, and another that takes over with nothing but the history."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from channels.telegram.render import MARK
from tests.fakes.telegram import delay
from tests.support import RunningStack
from tests.workflows.harness import World, eventually, open_world

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def alone(inner_stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A world without a worker."""
    async with open_world(inner_stack, tmp_path_factory.mktemp("world")) as world:
        yield world


async def test_events_that_came_without_a_worker_are_answered_by_the_next_one(alone: World) -> None:
    chat = alone.new_chat()
    for number in range(3):
        await alone.say(f"/nothing{number}", chat=chat)
    async with alone.worker():
        replies = await alone.replies(chat, 3)
    assert [one.text.split("/nothing")[1][0] for one in replies] == ["0", "1", "2"]


async def test_a_call_that_a_worker_left_behind_is_repeated_once_with_a_mark(alone: World) -> None:
    chat = alone.new_chat()
    async with alone.worker(grace_s=0.1):
        alone.telegram.script("sendMessage", delay(30))
        await alone.say("/help", chat=chat)
        await alone.telegram.until(
            lambda: any(call.payload["chat_id"] == chat for call in alone.telegram.called("sendMessage"))
        )
    assert [row.state for row in await alone.rows(chat)] == ["sending"]
    async with alone.worker():
        (reply,) = await alone.replies(chat)
        await alone.say("/calc 1 + 1", chat=chat)
        second = (await alone.replies(chat, 2))[1]
    assert MARK in reply.text
    assert second.text == "1 + 1 = 2"
    assert [(row.state, row.marked) for row in await alone.rows(chat)] == [("sent", True), ("sent", False)]


async def test_a_queue_outlives_its_worker(alone: World) -> None:
    chat = alone.new_chat()
    here = alone.ref_of(chat)
    async with alone.worker():
        await alone.say("/calc 1 + 1", chat=chat)
        await alone.replies(chat)
        fault = alone.faults.hang("deliver", when=lambda given: given.conversation == here)
        for name in ("a", "b", "c"):
            await alone.say(f"/{name}", chat=chat)
        await fault.reached.wait()
        await eventually(lambda: len(alone.faults.called("authorize_inbound")) >= 4)
        alone.faults.clear()
        await alone.replies(chat, 2)
    async with alone.worker():
        replies = await alone.replies(chat, 4)
        await alone.say("/calc 2 + 2", chat=chat)
        await alone.replies(chat, 5)
    assert [one.text.split("command ")[1].split(".")[0] for one in replies[1:4]] == ["/a", "/b", "/c"]
    assert await alone.letters(chat) == []


async def test_a_repeatable_tool_whose_worker_went_away_runs_again_and_answers_once(alone: World) -> None:
    chat = alone.new_chat()
    alone.gate.open.clear()
    async with alone.worker(grace_s=0.1):
        await alone.say("/time Tokyo", chat=chat)
        await eventually(lambda: alone.gate.waiting == 1)
    alone.gate.open.set()
    async with alone.worker():
        (reply,) = await alone.replies(chat)
        await alone.say("/calc 2 + 2", chat=chat)
        replies = await alone.replies(chat, 2)
    assert "Tokyo" in reply.text
    assert replies[1].text == "2 + 2 = 4"
    assert await alone.letters(chat) == []


async def test_nobody_says_that_a_writing_tool_failed_whose_worker_went_away(alone: World) -> None:
    """The tool may have done its work: nobody knows."""
    chat = alone.new_chat()
    await alone.pair(chat, role="owner")
    alone.gate.open.clear()
    async with alone.worker(grace_s=0.1):
        await alone.say("/tool slow_note text=maybe", chat=chat)
        (question,) = await alone.replies(chat)
        data = question.payload["reply_markup"]["inline_keyboard"][0][0]["callback_data"]
        await alone.press(question, data, sender=chat)
        await eventually(lambda: alone.gate.waiting == 1)
    async with alone.worker():
        texts = [one.text for one in (await alone.replies(chat, 3))[1:]]
        assert (await alone.letter(chat)).code == "tool_interrupted"
    assert "slow_note was interrupted; whether it took effect is unknown." in texts
    alone.gate.open.set()


async def test_an_answer_that_waits_for_a_yes_outlives_its_worker(alone: World) -> None:
    chat = alone.new_chat()
    await alone.pair(chat, role="owner")
    async with alone.worker():
        alone.model.call("note", {"text": "kept"})
        await alone.say("Write a short poem about the rain in November", chat=chat)
        (question,) = await alone.replies(chat)
    data = question.payload["reply_markup"]["inline_keyboard"][0][0]["callback_data"]
    await alone.press(question, data, sender=chat)
    alone.model.say("It is noted.")
    async with alone.worker():
        texts = [one.text for one in (await alone.replies(chat, 3))[1:]]
    assert "It is noted." in texts
    assert alone.gate.notes == ["kept"]
    assert await alone.letters(chat) == []
