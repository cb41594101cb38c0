"""None"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time as clock
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from temporalio import workflow
from temporalio.activity import ActivityCancellationDetails
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import Worker

from activities import tools as tools_module
from portico.contracts.messages import (
    ExecutionResult,
    ExecutionStatus,
)
from portico.contracts.steps import ToolCall
from tests.activities.tools_bench import Bench, code

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("parameters", [{}, {"expression": 5}, {"expression": "1", "more": 2}])
async def test_wrong_parameters_are_refused(bench: Bench, parameters: dict[str, Any]) -> None:
    result = await bench.run("calculator", **parameters)
    assert (result.status, code(result)) == (ExecutionStatus.FAILED, "bad_parameters")


async def test_an_unknown_tool_is_a_result_too(bench: Bench) -> None:
    assert code(await bench.run("teleport")) == "no_such_tool"


async def test_what_was_decided_about_another_version_is_not_run(bench: Bench) -> None:
    for name in ("calculator", "teleport"):
        call = bench.call(name, expression="1").model_copy(update={"content_hash": "0" * 64})
        assert code(await ActivityEnvironment().run(bench.steps.execute, call)) == "tool_changed"


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
async def test_every_failure_is_a_result_with_a_code(
    bench: Bench, name: str, how: str, expected: str
) -> None:
    result = await bench.run(name, how=how)
    assert (result.status, code(result)) == (ExecutionStatus.FAILED, expected)
    assert result.error is not None
    assert len(result.error.message) <= 300


async def test_the_words_of_a_bug_stay_inside(bench: Bench) -> None:
    result = await bench.run("broken", how="bug")
    assert result.error is not None
    assert "the-secret-token" not in result.error.message
    assert "KeyError at misbehaving.py:" in result.error.message


async def test_a_function_finds_no_keys_and_nothing_of_the_worker(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTICO_MASTER_KEY", "of-the-worker")
    found: Any = (await bench.run("surroundings")).output
    assert set(found["environment"]) <= {"PATH", "LANG", "HOME", "TMPDIR", "TZ", "LC_CTYPE"}
    assert found["session"] == found["pid"]
    assert found["folder"].startswith("/dev/shm/") or "portico-" in found["folder"]
    assert len(found["files"]) <= 5, "stdin, stdout, stderr, the line, and the listing itself"


async def test_a_tool_learns_who_asks(bench: Bench) -> None:
    assert (await bench.run("who")).output == {"id": "p1", "role": "member", "language": "zh"}
    update = {"kind": "progress", "invocation": "i1", "tool": "who", "text": "looking", "fraction": 0.5}
    assert ("i1", update) in bench.kept.published


async def test_a_secret_is_given_only_where_it_is_declared(bench: Bench) -> None:
    for name in ("other", "nothing"):
        result = await bench.run("tells_secret", name=name)
        assert result.error is not None
        assert "does not declare" in result.error.message


async def test_a_secret_does_not_leave_with_the_answer(bench: Bench) -> None:
    assert (await bench.run("tells_secret")).output == {"said": "the key is •••!"}


async def test_files_of_the_workspace_and_artifacts(bench: Bench) -> None:
    result = await bench.run("notes", text="hello")
    assert result.output == ["notes/two.txt"]
    assert [one.name for one in result.artifacts] == ["copy.txt"]
    again = await bench.run("upper", file="notes/two.txt")
    reference = {
        "artifact": "i1/upper-two.txt",
        "name": "upper-two.txt",
        "mediaType": "text/plain",
        "sizeBytes": 5,
    }
    assert again.output == {"text": "done", "files": [reference]}
    assert bench.kept.files["i1/upper-two.txt"] == ("p1", b"HELLO", "text/plain")
    once_more: Any = (await bench.run("upper", file={"artifact": "i1/upper-two.txt"})).output
    assert once_more["files"][0]["name"] == "upper-upper-two.txt"


@pytest.mark.parametrize(
    "file", ["../../etc/passwd", "/etc/passwd", "nothing", {"artifact": "i9/x"}, {"artifact": ""}]
)
async def test_no_other_file_can_be_named(bench: Bench, file: Any) -> None:
    result = await bench.run("upper", file=file)
    assert result.status is ExecutionStatus.FAILED
    assert code(result) == "tool_failed"


async def test_an_artifact_of_somebody_else_is_not_there(bench: Bench) -> None:
    await bench.kept.keep("i7", "private.txt", b"x", "text/plain", person_id="p2")
    result = await bench.run("upper", file={"artifact": "i7/private.txt"})
    assert result.error is not None
    assert result.error.message == "the artifact was not found"


async def test_a_result_carries_all_that_the_caller_needs(bench: Bench) -> None:
    result = await bench.run("calculator", expression="17*23")
    assert result.status is ExecutionStatus.SUCCEEDED
    assert isinstance(result.output, dict)
    assert result.output["text"] == "17 × 23 = 391"
    assert (result.invocation_id, result.tool_name, result.decision_id) == ("i1", "calculator", "d1")
    assert result.ended_at is not None
    assert result.started_at <= result.ended_at <= datetime.now(UTC)


async def test_the_shipped_tools_speak_the_persons_language(bench: Bench) -> None:
    result = await bench.run("time", place="东京")
    assert isinstance(result.output, dict)
    assert str(result.output["text"]).startswith("东京现在是")


async def test_output_becomes_plain_json(bench: Bench) -> None:
    assert (await bench.run("broken", how="model")).output == {"x": 1}
    assert (await bench.run("broken", how="infinite")).output is None


async def test_a_large_output_lies_in_a_blob_and_shows_how_it_begins(bench: Bench) -> None:
    result = await bench.run("long_text", size=200_000)
    assert result.output_blob is not None
    assert orjson.loads(bench.kept.outputs[result.output_blob.key]) == "ä" * 200_000
    assert result.output == "ä" * 3000 + " …"
    assert len(result.model_dump_json()) < 20_000


async def test_processes_are_kept_warm_and_shared_by_the_light_ones(bench: Bench) -> None:
    await bench.run("calculator", expression="1")
    before = bench.pool.pids
    begun = clock.monotonic()
    await bench.run("calculator", expression="2")
    await bench.run("time")
    assert bench.pool.pids == before
    assert clock.monotonic() - begun < 1


async def test_it_beats_with_the_progress(bench: Bench) -> None:
    environment = ActivityEnvironment()
    beats: list[tuple[Any, ...]] = []
    environment.on_heartbeat = lambda *details: beats.append(details)
    running = asyncio.create_task(environment.run(bench.steps.execute, bench.call("patient")))
    async with asyncio.timeout(5):
        while len(beats) < 3:  # noqa: ASYNC110 - the environment tells nobody
            await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert beats[0] == ("", None)


@pytest.mark.parametrize(
    ("name", "status"), [("patient", "cancelled"), ("slow", "cancelled"), ("deaf", "unknown")]
)
async def test_a_stop_ends_the_tool_and_is_told(
    bench: Bench, name: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = ActivityEnvironment()
    monkeypatch.setattr(tools_module, "GRACE_S", 0.2)
    running = asyncio.create_task(environment.run(bench.steps.execute, bench.call(name)))
    await _begun(bench, lambda: running.done())
    environment.cancel()
    result = await running
    assert (result.status, code(result)) == (ExecutionStatus(status), "cancelled")


async def test_a_worker_that_goes_away_tells_no_result(bench: Bench) -> None:
    environment = ActivityEnvironment()
    running = asyncio.create_task(environment.run(bench.steps.execute, bench.call("patient")))
    await _begun(bench, lambda: running.done())
    environment.cancel(ActivityCancellationDetails(worker_shutdown=True))
    with pytest.raises(asyncio.CancelledError):
        await running


@pytest.mark.parametrize("name", ["patient", "slow"])
async def test_how_a_run_ended_that_was_given_up_leaves_no_complaint(bench: Bench, name: str) -> None:
    """Its process is lost while nobody waits for its answer any more: asyncio would tell of it at exit."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))

    async def give_up() -> None:
        environment = ActivityEnvironment()
        running = asyncio.create_task(environment.run(bench.steps.execute, bench.call(name)))
        await _begun(bench, running.done)
        environment.cancel(ActivityCancellationDetails(worker_shutdown=True))
        await asyncio.sleep(0.05)
        for pid in bench.pool.pids:
            os.kill(pid, signal.SIGKILL)
        await asyncio.gather(running, return_exceptions=True)

    await give_up()
    await asyncio.sleep(0)
    gc.collect()
    assert complaints == []


async def _begun(bench: Bench, ended: Callable[[], bool]) -> None:
    """Until a function runs."""
    async with asyncio.timeout(5):
        while not bench.pool.busy and not ended():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@workflow.defn(name="RunTool", sandboxed=False)
class RunTool:
    @workflow.run
    async def run(self, tool_call: ToolCall) -> ExecutionResult:
        from datetime import timedelta

        result: ExecutionResult = await workflow.execute_activity(
            tool_call.invocation.tool_name,
            tool_call,
            result_type=ExecutionResult,
            start_to_close_timeout=timedelta(minutes=1),
            heartbeat_timeout=timedelta(seconds=10),
        )
        return result


async def test_a_result_survives_the_way_through_temporal_under_its_own_name(bench: Bench) -> None:
    environment = await WorkflowEnvironment.start_local(
        data_converter=pydantic_data_converter,
        dev_server_existing_path=str(Path(sys.executable).with_name("temporal")),
    )
    activities: list[Callable[..., Any]] = [bench.steps.execute, bench.steps.execute_named]
    async with (
        environment,
        Worker(environment.client, task_queue="q", workflows=[RunTool], activities=activities),
    ):
        handle = await environment.client.start_workflow(
            RunTool.run, bench.call("calculator", expression="9*9"), id=str(uuid.uuid4()), task_queue="q"
        )
        result = await handle.result()
        history = await handle.fetch_history()
    assert isinstance(result.output, dict)
    assert result.output["result"] == "81"
    scheduled = [event.activity_task_scheduled_event_attributes for event in history.events]
    assert [one.activity_type.name for one in scheduled if one.activity_type.name] == ["calculator"]
