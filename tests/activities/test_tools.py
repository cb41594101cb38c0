from __future__ import annotations

import asyncio
import gc
import itertools
import os
import signal
import sys
import time as clock
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from temporalio import workflow
from temporalio.activity import ActivityCancellationDetails
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import Worker

from activities import tools as tools_module
from activities.tools import ToolSteps
from entrypoints.cli.tools.local import GivenSecrets, LocalFiles
from entrypoints.serve.tool_sources import SHIPPED
from portico.contracts.messages import (
    Actor,
    Artifact,
    BlobRef,
    ExecutionResult,
    ExecutionStatus,
    ToolInvocation,
)
from portico.contracts.steps import ToolCall
from portico.errors import NotFound
from portico.tools.catalog import Catalog
from portico.tools.functions.environments import Environments, Installer
from portico.tools.functions.folders import FunctionsFolder
from portico.tools.functions.pool import Pool
from portico.tools.functions.services import Services
from portico.tools.functions.source import FunctionSource

pytestmark = pytest.mark.asyncio(loop_scope="module")

MISBEHAVING = Path(__file__).with_name("misbehaving")
SECRET = "sk-weather-0123456789"
MEMORY_MIB = 256


class Kept:
    """What runs kept, without S3: the storage has tests of its own."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[str, bytes, str]] = {}
        self.outputs: dict[str, bytes] = {}
        self.published: list[tuple[str, dict[str, Any]]] = []

    async def keep(self, run: str, name: str, data: bytes, media_type: str, *, person_id: str) -> Artifact:
        self.files[f"{run}/{name}"] = (person_id, data, media_type)
        return Artifact(name=name, media_type=media_type, size_bytes=len(data), url=f"/{name}")

    async def keep_output(self, run: str, content: bytes, *, person_id: str) -> BlobRef:
        key = f"blob{len(self.outputs)}"
        self.outputs[key] = content
        return BlobRef(key=key, size_bytes=len(content))

    async def find(self, invocation_id: str, name: str) -> Any:
        if f"{invocation_id}/{name}" not in self.files:
            raise NotFound("the artifact")
        person, data, media_type = self.files[f"{invocation_id}/{name}"]
        return type("Found", (), {"person_id": person, "name": name, "media_type": media_type, "data": data})

    async def content(self, artifact: Any) -> bytes:
        data: bytes = artifact.data
        return data

    def publish(self, topic: str, update: dict[str, Any]) -> None:
        self.published.append((topic, update))


class Bench:
    """The step over real processes of functions."""

    def __init__(self, root: Path) -> None:
        self.kept = Kept()
        self.files = LocalFiles()
        self.pool = Pool(processes=6)
        services = Services(
            workspaces=self.files,
            secrets=GivenSecrets({"weather": SECRET, "other": "x" * 20}),
            artifacts=self.kept,
        )
        folders = (FunctionsFolder(SHIPPED, shipped=True), FunctionsFolder(MISBEHAVING))
        self.source = FunctionSource(
            folders,
            services,
            self.pool,
            environments=lambda ready: Environments(root, lambda: Installer(None, {}), ready=ready),
            memory_bytes=MEMORY_MIB << 20,
        )
        self.catalog = Catalog((self.source,))
        self.steps = ToolSteps(
            self.catalog,
            keep_artifact=self.kept.keep,
            keep_output=self.kept.keep_output,
            publish=self.kept.publish,
        )

    async def start(self) -> None:
        await self.source.start()
        self.catalog.refresh()

    def call(self, tool_name: str, /, **parameters: Any) -> ToolCall:
        spec = self.catalog.spec(tool_name)
        return ToolCall(
            invocation_id="i1",
            invocation=ToolInvocation(tool_name=tool_name, parameters=parameters),
            decision_id="d1",
            actor=Actor(id="p1", role="member", paired=True),
            language="zh",
            content_hash=spec.content_hash if spec else "",
            repeatable=spec.repeatable if spec else False,
        )

    async def run(self, tool_name: str, /, **parameters: Any) -> ExecutionResult:
        return await ActivityEnvironment().run(self.steps.execute, self.call(tool_name, **parameters))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("environments"))
    await made.start()
    yield made
    await made.source.close()


def code(result: ExecutionResult) -> str:
    return result.error.code if result.error else ""


async def gone(pids: list[int]) -> None:
    async with asyncio.timeout(5):
        while any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


# --- what goes wrong --------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wrong_type", "its answer, a str, is not what it declares"),
        ("missing_import", "'a_module_that_is_not_there', which is not there"),
        ("leaves", "ended its own process (7)"),
    ],
)
async def test_the_run_ends_with_what_the_function_did(bench: Bench, name: str, words: str) -> None:
    result = await bench.run(name)
    assert result.status is ExecutionStatus.FAILED
    assert result.error is not None
    assert words in result.error.message
    assert (await bench.run("calculator", expression="1+1")).status is ExecutionStatus.SUCCEEDED


async def test_a_flood_of_output_drowns_nothing(bench: Bench) -> None:
    assert (await bench.run("flood")).output == "flooded"


async def test_a_function_that_forks_answers_once(bench: Bench) -> None:
    assert (await bench.run("forks")).output == "once"


async def test_a_bomb_of_processes_is_ended_with_the_limit(bench: Bench) -> None:
    before = bench.pool.pids
    result = await bench.run("bomb")
    assert result.error is not None
    assert "more than 128 processes" in result.error.message
    await gone(list(bench.pool.pids - before))
    assert not _processes_with("/bin/sleep\x0060")


async def test_what_a_function_leaves_behind_is_ended(bench: Bench) -> None:
    output: Any = (await bench.run("leaves_behind")).output
    await gone(output)


async def test_memory_has_a_limit(bench: Bench) -> None:
    result = await bench.run("greedy", mib=4 * MEMORY_MIB)
    assert result.error is not None
    assert "ran out of memory" in result.error.message


async def test_a_tool_that_cancels_itself_has_failed(bench: Bench) -> None:
    assert code(await bench.run("broken_async", how="cancelled")) == "tool_failed"


async def test_a_tool_that_takes_too_long_is_told_to_stop(bench: Bench) -> None:
    await bench.run("calculator", expression="1")
    begun = clock.monotonic()
    result = await bench.run("slow")
    assert (result.status, code(result)) == (ExecutionStatus.FAILED, "timeout")
    assert clock.monotonic() - begun < 3


async def test_an_effect_that_may_have_happened_is_unknown_not_failed(bench: Bench) -> None:
    result = await bench.run("deaf")
    assert (result.status, code(result)) == (ExecutionStatus.UNKNOWN, "timeout")


async def test_a_killed_process_is_repeated_where_that_is_declared(bench: Bench) -> None:
    with pytest.raises(ApplicationError) as raised:
        await bench.run("dies")
    assert raised.value.type == "interrupted"
    assert not raised.value.non_retryable


async def test_a_killed_process_leaves_an_unknown_end_elsewhere(bench: Bench) -> None:
    result = await bench.run("dies_once")
    assert (result.status, code(result)) == (ExecutionStatus.UNKNOWN, "interrupted")


async def test_too_many_at_once_are_refused_with_the_limit(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools_module, "QUEUE_S", 0.2)
    first, second = await asyncio.gather(bench.run("alone", seconds=1), bench.run("alone", seconds=1))
    refused = first if first.status is ExecutionStatus.FAILED else second
    assert code(refused) == "too_many"
    assert refused.error is not None
    assert "1 times at once" in refused.error.message


async def test_calls_of_one_tool_take_turns(bench: Bench) -> None:
    results = await asyncio.gather(*(bench.run("alone", seconds=0.2) for _ in range(3)))
    begun = sorted(float(str(one.output)) for one in results)
    assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(begun))


# --- what it may see and have -----------------------------------------------------------------------------


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


# --- what goes well ---------------------------------------------------------------------------------------


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


# --- stops ------------------------------------------------------------------------------------------------


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


def _processes_with(command: str) -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        if words.startswith(command):
            found.append(pid)
    return found


# --- through the real Temporal server ---------------------------------------------------------------------


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
