"""What a conversation does with each end of a delivery; here the owner wants unknown ends to be held."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.fakes.telegram import drop, refuse, too_many
from tests.support import RunningStack
from tests.workflows.harness import World, open_world

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def holding(
    inner_stack: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    home = tmp_path_factory.mktemp("world")
    async with open_world(inner_stack, home, delivery={"on_unknown": "hold"}) as world, world.worker():
        yield world


async def goes_on(world: World, chat: int) -> None:
    before = len(world.telegram.texts(chat))
    await world.say("/calc 1 + 1", chat=chat)
    assert (await world.replies(chat, before + 1))[-1].text == "1 + 1 = 2"


async def test_what_the_platform_refuses_is_a_dead_letter(holding: World) -> None:
    chat = holding.new_chat()
    holding.telegram.script("sendMessage", refuse(403, "Forbidden: bot was blocked by the user"))
    await holding.say("/help", chat=chat)
    letter = await holding.letter(chat)
    assert letter.code == "delivery_refused"
    assert "blocked" in letter.cause
    assert letter.event_json, "it can be tried again"
    assert holding.telegram.texts(chat) == []
    await goes_on(holding, chat)


async def test_a_call_whose_end_nobody_knows_is_held_as_a_dead_letter(holding: World) -> None:
    chat = holding.new_chat()
    holding.telegram.script("sendMessage", drop(taken=False))
    await holding.say("/help", chat=chat)
    letter = await holding.letter(chat)
    assert letter.code == "delivery_held"
    assert letter.event_json, "it can be tried again"
    assert [(row.state, row.held) for row in await holding.rows(chat)] == [("unknown", True)]
    assert holding.telegram.texts(chat) == []
    await goes_on(holding, chat)


async def test_a_platform_that_is_too_busy_is_waited_for_without_a_mark(holding: World) -> None:
    chat = holding.new_chat()
    holding.telegram.script("sendMessage", too_many(1))
    await holding.say("/help", chat=chat)
    await holding.replies(chat)
    refused, sent = [
        call for call in holding.telegram.called("sendMessage") if call.payload["chat_id"] == chat
    ]
    assert sent.at - refused.at >= 0.95
    (row,) = await holding.rows(chat)
    assert (row.attempt, row.marked) == (2, False)
    assert await holding.letters(chat) == []
