"""Runs of tools by themselves: decided, approved, executed and read back, without a conversation."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import Any

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError

from portico.contracts.messages import Actor, ExecutionResult, ExecutionStatus, ToolInvocation
from portico.contracts.names import TASK_QUEUE
from portico.contracts.steps import ToolProgress, ToolRunInput
from portico.contracts.tool_steps import ApprovalAnswer
from portico.errors import Unavailable
from tests.workflows.harness import World, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEMBER = Actor(id="person-1", role="member", paired=True)
OWNER = Actor(id="person-9", role="owner", paired=True)
Run = WorkflowHandle[Any, ExecutionResult]


async def start(
    world: World, tool: str, /, *, actor: Actor = MEMBER, approval_s: float = 60, **given: Any
) -> Run:
    invocation_id = f"tool-test-{uuid.uuid4().hex}"
    return await world.client.start_workflow(
        "ToolRun",
        ToolRunInput(
            invocation_id=invocation_id,
            invocation=ToolInvocation(tool_name=tool, parameters=given),
            actor=actor,
            approval_s=approval_s,
        ),
        id=invocation_id,
        task_queue=TASK_QUEUE,
        result_type=ExecutionResult,
    )


async def state(run: Run) -> ToolProgress:
    found = await run.query("progress", result_type=ToolProgress)
    assert isinstance(found, ToolProgress)
    return found


async def waits(run: Run) -> ToolProgress:
    async with asyncio.timeout(10):
        while (found := await state(run)).waiting is None:  # noqa: ASYNC110 - a query tells no change
            await asyncio.sleep(0.02)
    return found


async def answer(run: Run, *, approved: bool = True, by: Actor = OWNER) -> None:
    await run.execute_update("decide_approval", ApprovalAnswer(approved=approved, by=by))


async def decisions(run: Run) -> list[str]:
    """Names of what the history holds, in order."""
    names = []
    for event in (await run.fetch_history()).events:
        if event.HasField("marker_recorded_event_attributes"):
            names.append("decided")
        elif event.HasField("activity_task_scheduled_event_attributes"):
            names.append(event.activity_task_scheduled_event_attributes.activity_type.name)
        elif event.HasField("workflow_execution_update_accepted_event_attributes"):
            names.append("answered")
    return names


def code(result: ExecutionResult) -> str:
    return result.error.code if result.error else ""


# --- what is not run --------------------------------------------------------------------------------------


async def test_a_person_says_no(world: World) -> None:
    before = len(world.gate.notes)
    run = await start(world, "note", text="x")
    await waits(run)
    await answer(run, approved=False)
    result = await run.result()
    assert (result.status, code(result)) == (ExecutionStatus.DENIED, "denied")
    assert await decisions(run) == ["decided", "answered"]
    assert len(world.gate.notes) == before


async def test_nobody_answers_in_time(world: World) -> None:
    run = await start(world, "note", approval_s=0.2, text="x")
    result = await run.result()
    assert (result.status, code(result)) == (ExecutionStatus.DENIED, "approval_expired")


@pytest.mark.parametrize(
    "by", [Actor(id="person-2", role="member", paired=True), Actor(id="person-3", role="guest"), Actor()]
)
async def test_the_yes_of_somebody_who_may_not_counts_for_nothing(world: World, by: Actor) -> None:
    run = await start(world, "note", text="x")
    await waits(run)
    await answer(run, by=by)
    result = await run.result()
    assert (result.status, code(result)) == (ExecutionStatus.DENIED, "denied")
    assert await decisions(run) == ["decided", "answered", "decided"]


async def test_who_asked_cannot_agree_to_what_needs_another(world: World) -> None:
    run = await start(world, "post", text="x")
    waiting = (await waits(run)).waiting
    assert waiting is not None
    assert not waiting.self_approval
    await answer(run, by=MEMBER)
    assert (await run.result()).status is ExecutionStatus.DENIED


async def test_a_tool_that_changed_after_the_yes_was_asked_for_is_not_run(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await start(world, "note", text="x")
    await waits(run)
    known = world.deps.catalog._specs
    monkeypatch.setitem(known, "note", replace(known["note"], content_hash="another"))
    await answer(run)
    result = await run.result()
    assert (result.status, code(result)) == (ExecutionStatus.FAILED, "tool_changed")
    assert "note" not in await decisions(run)


async def test_a_second_answer_comes_too_late(world: World) -> None:
    run = await start(world, "slow_note", text="once")
    world.gate.open.clear()
    await waits(run)
    await answer(run)
    await eventually(lambda: world.gate.waiting == 1)
    with pytest.raises(WorkflowUpdateFailedError):
        await answer(run, approved=False)
    world.gate.open.set()
    assert (await run.result()).status is ExecutionStatus.SUCCEEDED


async def test_a_tool_that_is_not_there_now_ends_with_its_line(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = world.deps.catalog._specs
    line = "its packages are being installed"
    monkeypatch.setitem(known, "calculator", replace(known["calculator"], unavailable=line))
    result = await (await start(world, "calculator", expression="1")).result()
    assert (result.status, code(result)) == (ExecutionStatus.FAILED, "unavailable")
    assert result.error is not None
    assert result.error.message == line


# --- what is run ------------------------------------------------------------------------------------------


async def test_after_a_yes_it_is_decided_again_and_run_once(world: World) -> None:
    run = await start(world, "note", text="exactly this")
    waiting = (await waits(run)).waiting
    assert waiting is not None
    assert (waiting.tool_name, waiting.effects, waiting.risk) == ("note", "write", "low")
    assert '"text": "exactly this"' in waiting.parameters_shown
    await answer(run)
    result = await run.result()
    assert result.status is ExecutionStatus.SUCCEEDED
    assert world.gate.notes.count("exactly this") == 1
    assert await decisions(run) == ["decided", "answered", "decided", "note"]


async def test_who_asked_confirms_what_costs_little(world: World) -> None:
    run = await start(world, "note", text="mine")
    waiting = (await waits(run)).waiting
    assert waiting is not None
    assert waiting.self_approval
    await answer(run, by=MEMBER)
    assert (await run.result()).status is ExecutionStatus.SUCCEEDED


async def test_the_result_can_be_read_before_it_is_posted(world: World) -> None:
    fault = world.faults.hang("authorize_callback")
    invocation_id = f"tool-test-{uuid.uuid4().hex}"
    invocation = ToolInvocation(
        tool_name="calculator", parameters={"expression": "6*7"}, callback_url="https://example.org/hook"
    )
    run: Run = await world.client.start_workflow(
        "ToolRun",
        ToolRunInput(invocation_id=invocation_id, invocation=invocation, actor=MEMBER),
        id=invocation_id,
        task_queue=TASK_QUEUE,
        result_type=ExecutionResult,
    )
    await fault.reached.wait()
    early = await run.query("result", result_type=ExecutionResult)
    fault.released.set()
    assert early == await run.result()
    assert early.status is ExecutionStatus.SUCCEEDED
    assert "post_callback" not in await decisions(run), "nothing leaves in local mode"


async def test_a_part_that_is_away_is_waited_for(world: World) -> None:
    world.faults.fail("authorize_tool", Unavailable("OPA"), times=4)
    run = await start(world, "calculator", expression="1+1")
    assert (await run.result()).status is ExecutionStatus.SUCCEEDED


async def test_it_says_whose_it_is(world: World) -> None:
    run = await start(world, "calculator", expression="1")
    await run.result()
    assert await run.query("invoker", result_type=str) == MEMBER.id
    assert (await state(run)).state == "ended"


async def test_a_stop_ends_a_wait_for_a_yes(world: World) -> None:
    run = await start(world, "note", text="never")
    await waits(run)
    await run.cancel()
    assert (await run.result()).status is ExecutionStatus.CANCELLED
    assert "never" not in world.gate.notes
