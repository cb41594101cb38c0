"""Renewal when the server asks for it: a server that suggests it after few events, and a busy conversation."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.portico.servers import temporal_server
from tests.support import RunningStack
from tests.workflows.harness import World, eventually, open_world

pytestmark = pytest.mark.asyncio(loop_scope="module")
MESSAGES = 12


@pytest_asyncio.fixture(loop_scope="module")
async def hurried(
    inner_stack: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    home, folder = tmp_path_factory.mktemp("world"), tmp_path_factory.mktemp("temporal")
    suggestion = "limit.historyCount.suggestContinueAsNew=60"
    with temporal_server(folder, suggestion, "history.transferProcessorMaxPollRPS=1000") as port:
        async with open_world(inner_stack, home, temporal=f"127.0.0.1:{port}") as world, world.worker():
            yield world


async def test_a_busy_conversation_renews_itself_and_loses_nothing(hurried: World) -> None:
    world, chat = hurried, hurried.new_chat()
    world.gate.open.clear()
    await world.say("/time Tokyo", chat=chat)
    await eventually(lambda: world.gate.waiting == 1)
    first = await world.run_id(chat)
    updates = [await world.say(f"/nothing{number}", chat=chat) for number in range(MESSAGES)]
    replies = await world.replies(chat, MESSAGES)
    assert [one.text.split("/nothing")[1].split(".")[0] for one in replies] == [
        str(number) for number in range(MESSAGES)
    ]
    for update in updates:
        await world.tell(update)
    world.gate.open.set()
    await world.say("/calc 1 + 1", chat=chat)
    texts = {one.text.split(" ")[0] for one in (await world.replies(chat, MESSAGES + 2))[MESSAGES:]}
    assert len(texts) == 2, "the tool's result and the sum, once each"
    assert await world.run_id(chat) != first
    assert await world.turns(chat) == MESSAGES + 2
    assert await world.letters(chat) == []


async def test_a_run_stays_near_the_size_at_which_the_server_suggests_renewal(hurried: World) -> None:
    world, chat = hurried, hurried.new_chat()
    for number in range(MESSAGES):
        await world.say(f"/nothing{number}", chat=chat)
    await world.replies(chat, MESSAGES)
    sizes = []
    async for run in world.client.list_workflows(f"WorkflowId = '{world.id_of(chat)}'"):
        sizes.append(
            (await world.client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()).events
        )
    assert len(sizes) >= 2
    assert max(map(len, sizes)) < 150
