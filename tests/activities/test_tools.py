from __future__ import annotations

import asyncio
import sys
import threading
import time as clock
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from temporalio import workflow
from temporalio.activity import ActivityCancellationDetails
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import Worker

from activities import tools as tools_module
from activities.tools import TOOLS, ToolSteps
from portico.contracts import Actor, ExecutionResult, ExecutionStatus, ToolInvocation
from portico.steps import ToolCall
from portico.tool import ApprovalRequired, AskAgain, ToolContext, ToolFailed, spec_of, tool


class Point(BaseModel):
    x: int


@tool(effects="none", risk="low", timeout_s=0.3)
def slow(context: ToolContext) -> str:
    """Waits until it is told to stop."""
    context.stop.wait(10)
    return "stopped"


deaf_ends = threading.Event()


@tool(effects="write", risk="high", timeout_s=0.2)
def deaf() -> None:
    """Waits and does not listen."""
    deaf_ends.wait(10)


@tool(effects="none", risk="low", timeout_s=30)
async def patient(seconds: float = 30) -> str:
    """Waits without a thread."""
    await asyncio.sleep(seconds)
    return "done"


@tool(effects="none", risk="low")
def broken(how: str) -> Any:
    """Fails in the asked way."""
    answers: dict[str, Any] = {
        "model": Point(x=1),
        "infinite": float("inf"),
        "object": object(),
        "large": "x" * 2_000_000,
    }
    errors = {
        "bug": KeyError("the-secret-token"),
        "failed": ToolFailed("the shop is closed"),
        "again": AskAgain("which shop?"),
        "approval": ApprovalRequired("this costs money"),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "stop_iteration": StopIteration(),
    }
    if how in errors:
        raise errors[how]
    return answers[how]


@tool(effects="none", risk="low")
async def broken_async(how: str) -> Any:
    """Fails in the asked way."""
    if how == "cancelled":
        raise asyncio.CancelledError
    return broken(how)


@tool(effects="read", risk="low")
def who(context: ToolContext) -> dict[str, str]:
    """Tells who asks."""
    context.progress("looking", 0.5)
    return {"id": context.person.id, "role": context.person.role, "language": context.language}


STEPS = ToolSteps([*TOOLS, *(spec_of(each) for each in (slow, deaf, patient, broken, broken_async, who))])


def call(tool_name: str, **parameters: Any) -> ToolCall:
    return ToolCall(
        invocation_id="i1",
        invocation=ToolInvocation(tool_name=tool_name, parameters=parameters),
        decision_id="d1",
        actor=Actor(id="p1", role="member", paired=True),
        language="zh",
    )


async def run(tool_name: str, **parameters: Any) -> ExecutionResult:
    return await ActivityEnvironment().run(STEPS.execute, call(tool_name, **parameters))


def code(result: ExecutionResult) -> str:
    return result.error.code if result.error else ""


async def test_a_result_carries_all_that_the_caller_needs() -> None:
    result = await run("calculator", expression="17*23")
    assert result.status is ExecutionStatus.SUCCEEDED
    assert isinstance(result.output, dict)
    assert result.output["text"] == "17 × 23 = 391"
    assert (result.invocation_id, result.tool_name, result.decision_id) == ("i1", "calculator", "d1")
    assert result.ended_at is not None
    assert result.started_at <= result.ended_at
    assert set(result.model_dump(mode="json")) >= {
        "invocationId",
        "toolName",
        "startedAt",
        "endedAt",
        "decisionId",
    }


async def test_the_shipped_tools_speak_the_persons_language() -> None:
    result = await run("time", place="东京")
    assert isinstance(result.output, dict)
    assert str(result.output["text"]).startswith("东京现在是")


@pytest.mark.parametrize("parameters", [{}, {"expression": 5}, {"expression": "1", "more": 2}])
async def test_wrong_parameters_are_refused(parameters: dict[str, Any]) -> None:
    result = await run("calculator", **parameters)
    assert (result.status, code(result)) == (ExecutionStatus.FAILED, "bad_parameters")


async def test_an_unknown_tool_is_a_result_too() -> None:
    assert code(await run("teleport")) == "no_such_tool"
    assert STEPS.spec("teleport") is None


@pytest.mark.parametrize("name", ["broken", "broken_async"])
@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("bug", "tool_failed"),
        ("failed", "tool_failed"),
        ("again", "ask_again"),
        ("approval", "approval_required"),
        ("exit", "tool_failed"),
        ("interrupt", "tool_failed"),
        ("stop_iteration", "tool_failed"),
        ("object", "bad_output"),
        ("large", "output_too_large"),
    ],
)
async def test_every_failure_is_a_result_with_a_code(name: str, how: str, expected: str) -> None:
    result = await run(name, how=how)
    assert (result.status, code(result)) == (ExecutionStatus.FAILED, expected)
    assert result.error is not None
    assert len(result.error.message) <= 300


async def test_the_words_of_a_bug_stay_inside() -> None:
    result = await run("broken", how="bug")
    assert result.error is not None
    assert "the-secret-token" not in result.error.message
    assert "KeyError at test_tools.py:" in result.error.message


async def test_a_tool_that_cancels_itself_has_failed() -> None:
    assert code(await run("broken_async", how="cancelled")) == "tool_failed"


async def test_output_becomes_plain_json() -> None:
    assert (await run("broken", how="model")).output == {"x": 1}
    assert (await run("broken", how="infinite")).output is None


async def test_a_tool_learns_who_asks_and_can_tell_how_far_it_is() -> None:
    assert (await run("who")).output == {"id": "p1", "role": "member", "language": "zh"}


async def test_a_tool_that_takes_too_long_is_told_to_stop() -> None:
    begun = clock.monotonic()
    result = await run("slow")
    assert (result.status, code(result)) == (ExecutionStatus.FAILED, "timeout")
    assert clock.monotonic() - begun < 2


async def test_an_effect_that_may_still_happen_is_unknown_not_failed() -> None:
    try:
        result = await run("deaf")
    finally:
        deaf_ends.set()
    assert (result.status, code(result)) == (ExecutionStatus.UNKNOWN, "timeout")


async def test_one_that_hangs_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf_ends.clear()
    monkeypatch.setattr(tools_module, "GRACE_S", 0.05)
    try:
        hanging = [asyncio.create_task(run("deaf")) for _ in range(40)]
        assert (await run("calculator", expression="1+1")).status is ExecutionStatus.SUCCEEDED
        assert {code(each) for each in await asyncio.gather(*hanging)} == {"timeout"}
    finally:
        deaf_ends.set()


async def test_it_beats_with_the_progress() -> None:
    environment = ActivityEnvironment()
    beats: list[tuple[Any, ...]] = []
    environment.on_heartbeat = lambda *details: beats.append(details)
    running = asyncio.create_task(environment.run(STEPS.execute, call("patient")))
    async with asyncio.timeout(5):
        while len(beats) < 3:  # noqa: ASYNC110 - the environment tells nobody
            await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert beats[0] == ("", None)


@pytest.mark.parametrize("name", ["patient", "slow"])
async def test_a_stop_ends_the_tool_and_is_told(name: str) -> None:
    environment = ActivityEnvironment()
    began = asyncio.Event()
    environment.on_heartbeat = lambda *_: began.set()
    running = asyncio.create_task(environment.run(STEPS.execute, call(name)))
    await began.wait()
    environment.cancel()
    result = await running
    assert (result.status, code(result)) == (ExecutionStatus.CANCELLED, "cancelled")


async def test_a_worker_that_goes_away_tells_no_result() -> None:
    environment = ActivityEnvironment()
    began = asyncio.Event()
    environment.on_heartbeat = lambda *_: began.set()
    running = asyncio.create_task(environment.run(STEPS.execute, call("patient")))
    await began.wait()
    environment.cancel(ActivityCancellationDetails(worker_shutdown=True))
    with pytest.raises(asyncio.CancelledError):
        await running


def test_the_list_of_tools_holds_every_function_that_is_one() -> None:
    import importlib
    import inspect

    folder = Path(tools_module.__file__).parent / "functions"
    found = set()
    for file in folder.glob("*.py"):
        module = importlib.import_module(f"activities.functions.{file.stem}")
        for _, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and hasattr(function, "__portico_tool__"):
                found.add(spec_of(function).name)
    assert found == {spec.name for spec in TOOLS}


# --- through the real Temporal server -------------------------------------------------------------------


@workflow.defn(name="RunTool", sandboxed=False)
class RunTool:
    @workflow.run
    async def run(self, tool_call: ToolCall) -> ExecutionResult:
        result: ExecutionResult = await workflow.execute_activity(
            "execute_tool",
            tool_call,
            result_type=ExecutionResult,
            start_to_close_timeout=timedelta(minutes=1),
            heartbeat_timeout=timedelta(seconds=10),
        )
        return result

    @workflow.signal
    async def nothing(self) -> None: ...


@pytest.fixture
async def temporal() -> AsyncIterator[WorkflowEnvironment]:
    environment = await WorkflowEnvironment.start_local(
        data_converter=pydantic_data_converter,
        dev_server_existing_path=str(Path(sys.executable).with_name("temporal")),
    )
    async with (
        environment,
        Worker(
            environment.client,
            task_queue="q",
            workflows=[RunTool],
            activities=[STEPS.execute],
            max_heartbeat_throttle_interval=timedelta(seconds=1),
        ),
    ):
        yield environment


async def test_a_result_survives_the_way_through_temporal(temporal: WorkflowEnvironment) -> None:
    result = await temporal.client.execute_workflow(
        RunTool.run, call("calculator", expression="9*9"), id=str(uuid.uuid4()), task_queue="q"
    )
    assert isinstance(result.output, dict)
    assert result.output["result"] == "81"
