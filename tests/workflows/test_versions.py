"""Versions of the worker, with a real server: a conversation moves between its turns, a tool run stays."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.worker import WorkerDeploymentConfig

from entrypoints.serve.worker import version_of
from operations.deploy.promotion import Promoted, Promotion, PromotionPlan
from operations.deploy.versions import Deployment, OpenRuns, current_of
from portico.errors import Conflict, Misconfigured, Unavailable
from portico.settings.servers import TemporalSettings
from tests.fakes.telegram import delay
from tests.support import RunningStack
from tests.workflows.harness import World, eventually, open_world
from tests.workflows.processes import workers_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def fresh_world(stack: RunningStack, root: Path, **tables: Any) -> AsyncIterator[World]:
    """In a namespace of its own: versions belong to a namespace, and other tests' workers have none."""
    async with open_world(stack, root, namespace=f"versions-{uuid.uuid4().hex[:8]}", **tables) as world:
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def world(inner_stack: RunningStack, tmp_path: Path) -> AsyncIterator[World]:
    async with fresh_world(inner_stack, tmp_path / "world") as world:
        yield world


def build(build_id: str) -> WorkerDeploymentConfig | None:
    return version_of(TemporalSettings(build_id=build_id))


async def promote(world: World, build_id: str, **waits: float) -> Promoted:
    waits = {"wait_workers_s": 60, "rate": 100} | waits
    deployment = Deployment(world.client, "portico")
    return await Promotion(deployment, PromotionPlan(build_id, **waits), say=lambda line: None).run()  # type: ignore[arg-type]


async def version(world: World, workflow_id: str) -> str:
    """The build id that an open or ended run is pinned to."""
    description = await world.client.get_workflow_handle(workflow_id).describe()
    info = description.raw_description.workflow_execution_info
    return str(info.versioning_info.deployment_version.build_id)


@dataclass
class Talk:
    """People who go on writing numbered commands, each in a chat of their own."""

    world: World
    chats: list[int]
    sent: dict[int, int] = field(default_factory=dict)
    pause_s: float = 0.5

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._write())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _write(self) -> None:
        while True:
            for chat in self.chats:
                await self.say(chat)
            await asyncio.sleep(self.pause_s)

    async def say(self, chat: int) -> None:
        number = self.sent.get(chat, 0)
        self.sent[chat] = number + 1  # before it is told: a cancelled call may have stored it
        await asyncio.shield(self.world.say(f"/nothing{number:04}", chat=chat))

    async def answered(self) -> None:
        """Every message has its answer, in order, none twice."""
        for chat, count in self.sent.items():
            replies = await self.world.replies(chat, count, timeout_s=60)
            numbers = [one.text.split("/nothing")[1][:4] for one in replies if "/nothing" in one.text]
            assert numbers == [f"{number:04}" for number in range(count)]
            assert await self.world.letters(chat) == []


async def test_a_switch_and_a_way_back_lose_nothing_and_double_nothing(
    inner_stack: RunningStack, world: World, tmp_path: Path
) -> None:
    idle = [world.new_chat() for _ in range(3)]
    talk, tool, held = Talk(world, [world.new_chat(), world.new_chat()]), world.new_chat(), world.new_chat()
    until = tmp_path / "until"
    with workers_of(world, inner_stack, tmp_path / "workers") as workers:
        workers.write_slow_tool()
        first = workers.start("-b1", build_id="b1")
        code, out, err = await workers.command("deploy", "promote", build_id="b1")
        assert code == 0, (out, err)
        assert "waiting for workers of version b1 on portico" in err
        for chat in idle:
            await talk.say(chat)
        await world.say(f"/tool slow until={until}", chat=tool)
        await talk.answered()
        await eventually(Path(f"{until}.began").exists)
        world.telegram.script("sendMessage", delay(3))
        await talk.say(held)
        await world.telegram.until(
            lambda: world.telegram.called("sendMessage")[-1].payload["chat_id"] == held
        )
        second = workers.start("-b2", build_id="b2")
        async with talk.going_on():
            code, out, err = await workers.command("deploy", "promote", "--wait-drained", "6", build_id="b2")
        assert code == 3, (out, err)
        assert "still open on b1: 0 conversations, 1 tool run" in out
        await talk.answered()
        assert {await version(world, world.id_of(chat)) for chat in (*idle, *talk.sent)} == {"b2"}
        invocation = await tool_run_of(world)
        assert await version(world, invocation) == "b1"
        until.touch()
        assert "it is there" in (await world.replies(tool))[0].text
        assert await version(world, invocation) == "b1"
        code, out, err = await workers.command("deploy", "promote", "--wait-drained", "20", build_id="b2")
        assert (code, "b1: drained" in out) == (0, True), (out, err)
        second_thoughts = promote(world, "b1", wait_drained_s=20)
        async with talk.going_on():
            assert (await second_thoughts).drained
        second.stop()
        await talk.answered()
        for chat in talk.sent:
            await talk.say(chat)
        await talk.answered()
        first.stop()


async def test_a_worker_without_a_version_goes_on_as_ever_and_versions_can_be_switched_on_and_off(
    world: World,
) -> None:
    chat = world.new_chat()
    talk = Talk(world, [chat])
    async with world.worker():
        await talk.say(chat)
        await talk.answered()
        before = await world.run_id(chat)
        await world.handle(chat).signal("renew")
        await world.renewed(chat, before)
        await talk.say(chat)
        await talk.answered()
        assert await version(world, world.id_of(chat)) == ""
    async with world.worker(deployment_config=build("b1")):
        await promote(world, "b1")
        await talk.say(chat)
        await talk.answered()
        assert await version(world, world.id_of(chat)) == "b1"
        async with world.worker():
            assert (await promote(world, "", wait_drained_s=10)).drained
            await talk.say(chat)
            await talk.answered()
            assert await version(world, world.id_of(chat)) == ""


@pytest.mark.parametrize(
    "following", ["b2", pytest.param("", marks=pytest.mark.long)], ids=["another version", "no version"]
)
async def test_what_a_version_without_workers_left_open_is_taken_over(world: World, following: str) -> None:
    """Its conversations and tool runs would wait for ever: the version that is promoted replays them."""
    chat, tool = world.new_chat(), world.new_chat()
    talk = Talk(world, [chat])
    world.gate.open.clear()
    async with world.worker(deployment_config=build("b1"), grace_s=0.1):
        await promote(world, "b1")
        await talk.say(chat)
        await talk.answered()
        await world.say("/time Tokyo", chat=tool)
        await eventually(lambda: world.gate.waiting == 1)
    world.gate.open.set()
    async with world.worker(deployment_config=build(following)):
        await talk.say(chat)
        promoted = await promote(world, following, wait_drained_s=30, gone_after_s=0)
        assert (promoted.drained, promoted.before, promoted.taken_over >= 2) == (True, "b1", True), promoted
        await talk.answered()
        assert "Tokyo" in (await world.replies(tool))[0].text
        assert await version(world, world.id_of(chat)) == following


async def test_a_version_that_no_worker_polls_for_is_not_promoted(world: World) -> None:
    with pytest.raises(Misconfigured, match="no worker of version b9 polls portico; start its workers"):
        await promote(world, "b9", wait_workers_s=0)
    async with world.worker(deployment_config=build("b1")):
        await promote(world, "b1")
        with pytest.raises(Misconfigured, match="no worker of version b9"):
            await promote(world, "b9", wait_workers_s=0)
        missing = "polls portico-inference, portico-tools, portico-delivery"
        with pytest.raises(Misconfigured, match=missing):
            await promote(world, "b1", wait_workers_s=0, split=True)
        versions = await Deployment(world.client, "portico").look()
        assert [(one.build_id, one.status, one.workers) for one in versions.versions] == [
            ("b1", "current", {"portico": 1})
        ]
        assert versions.current == "b1"


@pytest.mark.long
async def test_a_promotion_that_another_one_overtakes_says_so(world: World) -> None:
    async with world.worker(deployment_config=build("b1")), world.worker(deployment_config=build("b2")):
        chats = [world.new_chat() for _ in range(2)]
        talk = Talk(world, chats)
        await promote(world, "b1")
        for chat in chats:
            await talk.say(chat)
        await talk.answered()
        slow = asyncio.create_task(promote(world, "b2", rate=0.02))
        deployment = Deployment(world.client, "portico")
        while current_of(await deployment.info()) != "b2":  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.5)  # it may not be asked often
        await promote(world, "b1")
        with pytest.raises(Conflict, match="version b1 was promoted meanwhile; version b2 is not current"):
            await slow
        for chat in chats:
            await talk.say(chat)
        await talk.answered()


class Losing(Deployment):
    """Temporal goes away as soon as something is counted."""

    async def open_runs(self, build_id: str) -> OpenRuns:
        raise Unavailable("temporal", "UNAVAILABLE")


async def test_a_promotion_whose_server_goes_away_after_the_switch_says_so(world: World) -> None:
    async with world.worker(deployment_config=build("b1")), world.worker(deployment_config=build("b2")):
        await promote(world, "b1")
        plan = PromotionPlan("b2", wait_workers_s=60, rate=100)
        promoted = await Promotion(Losing(world.client, "portico"), plan, say=lambda line: None).run()
        assert "temporal" in promoted.lost
        assert not promoted.drained
        assert current_of(await Deployment(world.client, "portico").info()) == "b2"


@pytest.mark.long
async def test_many_conversations_move_although_the_promotion_is_killed_and_begun_again(
    inner_stack: RunningStack, world: World, tmp_path: Path
) -> None:
    idle, busy = (Talk(world, [world.new_chat() for _ in range(count)]) for count in (60, 4))
    with workers_of(world, inner_stack, tmp_path / "workers") as workers:
        first = workers.start("-b1", build_id="b1")
        await promote(world, "b1", wait_workers_s=60)
        await asyncio.gather(*(idle.say(chat) for chat in idle.chats))
        await idle.answered()
        second = workers.start("-b2", build_id="b2")
        await second.ready()
        async with busy.going_on():
            broken_off = workers.spawn("deploy", "promote", "--rate", "5", build_id="b2")
            await eventually(lambda: moved(world, idle.chats, at_least=5), timeout_s=60)
            broken_off.kill()
            broken_off.wait()
            code, out, err = await workers.command(
                "deploy", "promote", "--wait-drained", "100", "--rate", "50", build_id="b2"
            )
            assert (code, "b1: drained" in out) == (0, True), (out, err)
            first.stop()
            await asyncio.gather(*(idle.say(chat) for chat in idle.chats))
        await idle.answered()
        await busy.answered()
        for chat in (*idle.chats, *busy.chats):
            assert await version(world, world.id_of(chat)) == "b2"
        second.stop()


async def moved(world: World, chats: list[int], *, at_least: int) -> bool:
    builds = await asyncio.gather(*(version(world, world.id_of(chat)) for chat in chats))
    return sum(one == "b2" for one in builds) >= at_least


async def tool_run_of(world: World) -> str:
    (run,) = [one async for one in world.client.list_workflows("WorkflowType = 'ToolRun'")]
    return run.id
