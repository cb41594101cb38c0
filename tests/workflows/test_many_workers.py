"""Several worker processes on one PostgreSQL and one Temporal: alike, or each with queues of its own; killed, too."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from channels.telegram.render import MARK
from portico.storage.outbox_rows import OutboxRow
from tests.postgres import PostgresServer, running_postgres
from tests.support import RunningStack
from tests.workflows.harness import World, eventually, open_world
from tests.workflows.processes import workers_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUEUES = ("portico", "portico-inference", "portico-tools", "portico-delivery")
FREE_TEXT = "Write a short poem about the rain in November"


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def world(inner_stack: RunningStack, postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[World]:
    database = {"url": postgres.new_database()}
    namespace = f"workers-{uuid.uuid4().hex[:8]}"
    async with open_world(inner_stack, tmp_path / "world", namespace=namespace, database=database) as world:
        yield world


async def test_what_a_killed_worker_had_goes_on_at_the_other_and_nothing_is_lost(
    inner_stack: RunningStack, world: World, tmp_path: Path
) -> None:
    chats, each = [world.new_chat() for _ in range(8)], 12
    with workers_of(world, inner_stack, tmp_path / "workers") as workers:
        both = [workers.start(own_home=True) for _ in range(2)]
        await asyncio.gather(*(worker.ready() for worker in both))

        async def write(chat: int) -> None:
            for number in range(each):
                await world.say(f"/nothing{number:04}", chat=chat)
                await asyncio.sleep(0.05)

        writing = [asyncio.create_task(write(chat)) for chat in chats]
        await eventually(lambda: len(world.telegram.messages) >= 20, timeout_s=60)
        killed = next(iter(await turned(world, chats)))
        for worker in both:
            if worker.process.pid == killed:
                worker.kill()
        await asyncio.gather(*writing)
        for chat in chats:
            rows = await settled(world, chat, each)
            found = [one.removeprefix(MARK).split("/nothing")[1][:4] for one in world.telegram.texts(chat)]
            assert list(dict.fromkeys(found)) == [f"{number:04}" for number in range(each)]
            # Whatever is there twice says so: the worker died between the platform's answer and its own note.
            assert len(found) - each <= sum(row.marked for row in rows) <= 1
            assert await world.letters(chat) == []
        assert await turned(world, chats) == {worker.process.pid for worker in both}
        for worker in both:
            if worker.process.pid != killed:
                worker.stop()


@pytest.mark.long
async def test_workers_with_queues_of_their_own_work_together_and_a_missing_one_only_delays(
    inner_stack: RunningStack, world: World, tmp_path: Path
) -> None:
    world.intake._split_queues = True
    chat, until = world.new_chat(), tmp_path / "until"
    until.touch()
    with workers_of(world, inner_stack, tmp_path / "workers") as workers:
        workers.write_slow_tool()
        turns = workers.start("-turns", own_home=True, queues=["portico"])
        await world.say(f"/tool slow until={until}", chat=chat)
        world.model.say("The rain", " falls.")
        await world.say(FREE_TEXT, chat=chat)
        await waits_in(world, {"portico-inference", "portico-tools"})
        assert world.telegram.texts(chat) == []
        others = workers.start("-others", own_home=True, queues=["portico-tools", "portico-inference"])
        await waits_in(world, {"portico-delivery"})
        delivery = workers.start("-delivery", own_home=True, queues=["portico-delivery"])
        await world.telegram.until(
            lambda: {"The rain falls.", "it is there"} <= set(world.telegram.texts(chat)), timeout_s=60
        )
        assert await served(world) | {"portico": turns.process.pid} == {
            "portico": turns.process.pid,
            "portico-tools": others.process.pid,
            "portico-inference": others.process.pid,
            "portico-delivery": delivery.process.pid,
        }
        for worker in (turns, others, delivery):
            worker.stop()


@pytest.mark.long
async def test_a_tool_that_is_another_one_at_the_worker_that_would_run_it_is_not_run(
    inner_stack: RunningStack, world: World, tmp_path: Path
) -> None:
    world.intake._split_queues = True
    chat, until = world.new_chat(), tmp_path / "until"
    until.touch()
    with workers_of(world, inner_stack, tmp_path / "workers") as workers:
        workers.write_slow_tool()
        turns = workers.start(own_home=True, queues=["portico", "portico-inference", "portico-delivery"])
        await turns.ready()
        slow = world.ground.home.functions / "slow.py"
        slow.write_text(slow.read_text().replace("it is there", "something else"))
        tools = workers.start(own_home=True, queues=["portico-tools"])
        await world.say(f"/tool slow until={until}", chat=chat)
        (reply,) = await world.replies(chat, timeout_s=60)
        assert "has changed" in reply.text
        assert not Path(f"{until}.began").exists()
        for worker in (turns, tools):
            worker.stop()


async def turned(world: World, chats: list[int]) -> set[int]:
    """The processes that took turns of these chats."""
    found = set()
    for chat in chats:
        for event in (await world.handle(chat).fetch_history()).events:
            if event.HasField("workflow_task_started_event_attributes"):
                identity = event.workflow_task_started_event_attributes.identity
                found.add(int(identity.split("@")[0]))
    return found


async def settled(world: World, chat: int, count: int) -> list[OutboxRow]:
    """So many rows, all of them sent."""
    rows: list[OutboxRow] = []

    async def sent() -> bool:
        rows[:] = await world.rows(chat)
        return [row.state for row in rows] == ["sent"] * count

    await eventually(sent, timeout_s=60, what=f"{count} rows that are sent")
    return rows


async def waits_in(world: World, queues: set[str]) -> None:
    """Until an activity of some open run waits for a worker of each of these queues."""

    async def there() -> bool:
        found = set()
        async for run in world.client.list_workflows("ExecutionStatus = 'Running'"):
            described = await world.client.get_workflow_handle(run.id).describe()
            if described.raw_description.pending_activities:
                history = await world.client.get_workflow_handle(run.id).fetch_history()
                found |= {
                    event.activity_task_scheduled_event_attributes.task_queue.name
                    for event in history.events
                    if event.HasField("activity_task_scheduled_event_attributes")
                }
        return queues <= found

    await eventually(there, timeout_s=60, what=f"work that waits in {queues}")


async def served(world: World) -> dict[str, int]:
    """By queue, the process that executed the last activity of it."""
    found = {}
    async for run in world.client.list_workflows("TaskQueue = 'portico'"):
        history = await world.client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
        scheduled = {
            event.event_id: event.activity_task_scheduled_event_attributes.task_queue.name
            for event in history.events
            if event.HasField("activity_task_scheduled_event_attributes")
        }
        for event in history.events:
            if event.HasField("activity_task_started_event_attributes"):
                started = event.activity_task_started_event_attributes
                found[scheduled[started.scheduled_event_id]] = int(started.identity.split("@")[0])
    return found
