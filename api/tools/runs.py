"""Tool runs for every interface of the edge: REST, gRPC and MCP start, watch and cancel them here.

Each run is a durable `ToolRun`, decided by policy inside it. What cannot be run at all (no such tool, parameters that
do not fit) is told here, before anything is asked or stored.
"""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast

import orjson
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowQueryFailedError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from api.deps import AppDeps
from api.intake import RPC_TIMEOUT
from portico.contracts import names
from portico.contracts.messages import (
    ADMIN_ROLES,
    Actor,
    ExecutionError,
    ExecutionResult,
    ExecutionStatus,
    ToolInvocation,
)
from portico.contracts.policy import params_hash
from portico.contracts.steps import ToolProgress, ToolRunInput
from portico.errors import BadCall, BadInput, Conflict, NoSuchTool, NotFound, TooLarge, Unavailable
from portico.ids import keyed_id
from portico.storage.access import Principal
from portico.tool import ToolSpec
from portico.tools.callbacks import check_callback_url
from portico.tools.catalog import nearest
from portico.tools.checks import faults

LARGEST_PARAMETERS = 512 * 1024
LOOK_EVERY_S, LOOK_SELDOM_S = 1.0, 8.0
"""How often a waiting request polls, at first and later; live updates arrive at once."""
BRIEF_S = 0.05


@dataclass(frozen=True)
class ToolEvent:
    """Something that happened to a run. `result` is set on the last one; a wait for a yes ends at `expires_at`."""

    kind: Literal["progress", "waiting", "ended"]
    text: str = ""
    fraction: float | None = None
    expires_at: datetime | None = None
    result: ExecutionResult | None = None


async def spec_of(deps: AppDeps, name: str) -> ToolSpec:
    """Raises `NoSuchTool` with the nearest names, `Unavailable` before a worker has published the catalog."""
    known = await deps.tools.read()
    found = next((spec for spec in known.specs if spec.name == name), None)
    if found is None:
        if not known.published:
            raise Unavailable("the worker", "it has not told yet which tools there are")
        raise NoSuchTool(name, nearest(name, [spec.name for spec in known.specs]))
    return found


async def start(
    deps: AppDeps,
    person: Principal,
    invocation: ToolInvocation,
    *,
    key: str | None = None,
    via: str = "rest",
    language: str = "en",
) -> str:
    """The id of the run; the same `key` of the same person is the same run.

    Raises `NoSuchTool`, `BadCall`, `TooLarge`, `TooMany`, `Conflict` (the key was used for another call) or
    `Unavailable`.
    """
    spec = await spec_of(deps, invocation.tool_name)
    _check(deps, spec, invocation)
    deps.limits.check_invoker(person.person_id)
    invocation_id = _invocation_id(deps, person, key)
    digest = params_hash(invocation.tool_name, invocation.parameters)
    given = ToolRunInput(
        invocation_id=invocation_id,
        invocation=invocation,
        actor=Actor(id=person.person_id, role=person.role, paired=True),
        language=language,
        door=via,
    )
    facts = {"workflow": invocation_id, "tool": spec.name}
    with deps.intake.traces.span("invoke", invocation_id, facts, root=True):
        handle = await _started(deps, given, digest)
    if key is not None:
        await _same_call(handle, digest)
    return invocation_id


async def _started(deps: AppDeps, given: ToolRunInput, digest: str) -> WorkflowHandle[Any, Any]:
    try:
        return await deps.temporal.start_workflow(
            names.TOOL_RUN,
            given,
            id=given.invocation_id,
            task_queue=names.TASK_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=f"{given.invocation.tool_name} through the edge",
            memo={"call": digest},
            rpc_timeout=RPC_TIMEOUT,
        )
    except WorkflowAlreadyStartedError:
        return deps.temporal.get_workflow_handle(given.invocation_id)
    except (RPCError, RuntimeError) as error:
        raise _translated(error) from error


async def result(
    deps: AppDeps, person: Principal, invocation_id: str, *, wait_s: float = 0
) -> ExecutionResult:
    """What became of it, or that it runs; large outputs are read back. Raises `NotFound` for another's run."""
    handle = await run_of(deps, person, invocation_id)
    found = await _settled(handle, wait_s=wait_s)
    if found is None:
        state = await progress_of(deps, handle)
        return running(invocation_id, state.tool_name)
    return await _whole(deps, found)


async def watch(deps: AppDeps, person: Principal, invocation_id: str) -> AsyncIterator[ToolEvent]:
    """What happens to it from now on, until its end. The first event is where it stands."""
    handle = await run_of(deps, person, invocation_id)
    with deps.live.subscribe(invocation_id) as updates:
        ended = asyncio.create_task(_settled(handle, wait_s=math.inf))
        told = asyncio.create_task(anext(updates))
        try:
            await asyncio.wait({ended}, timeout=BRIEF_S)
            last: ToolEvent | None = None
            while not ended.done():
                event = _event(await progress_of(deps, handle))
                if event != last:
                    yield event
                last = event
                while await _within(LOOK_EVERY_S, ended, told) and not ended.done():
                    update, told = told.result(), asyncio.create_task(anext(updates))
                    if update.get("kind") != "progress":
                        break
                    last = ToolEvent("progress", str(update.get("text", "")), update.get("fraction"))
                    yield last
            found = ended.result()
            if found is not None:
                yield ToolEvent("ended", result=await _whole(deps, found))
        finally:
            ended.cancel()
            told.cancel()


async def _within(seconds: float, *tasks: asyncio.Task[Any]) -> bool:
    """Whether one of them is done in that time."""
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


async def cancel(deps: AppDeps, person: Principal, invocation_id: str) -> None:
    """Ask it to stop. One that has ended stays as it ended. Raises `NotFound`."""
    handle = await run_of(deps, person, invocation_id)
    try:
        await handle.cancel(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise _translated(error) from error


def running(invocation_id: str, tool_name: str) -> ExecutionResult:
    return ExecutionResult(
        invocation_id=invocation_id,
        tool_name=tool_name,
        status=ExecutionStatus.RUNNING,
        started_at=datetime.now(UTC),
    )


def _check(deps: AppDeps, spec: ToolSpec, invocation: ToolInvocation) -> None:
    if invocation.callback_url is not None:
        check_callback_url(invocation.callback_url, deps.settings)
    if len(invocation.model_dump_json()) > LARGEST_PARAMETERS:
        raise TooLarge("the parameters", limit_bytes=LARGEST_PARAMETERS)
    if found := faults(spec, invocation.parameters):
        raise BadCall(spec.name, [(fault.path, fault.message) for fault in found])


async def _same_call(handle: WorkflowHandle[Any, Any], digest: str) -> None:
    """An idempotency key names one call, not whatever is sent with it."""
    description = await _described(handle)
    if (await description.memo_value("call", digest)) != digest:
        raise Conflict("this idempotency key was used for another call")


async def run_of(
    deps: AppDeps, person: Principal, invocation_id: str, *, anybodys: bool = False
) -> WorkflowHandle[Any, ExecutionResult]:
    """A run that this person may see; others' runs are not found. `anybodys`: the caller checks access itself."""
    if not invocation_id.startswith("tool-") or len(invocation_id) > 255:
        raise NotFound("the invocation")
    handle = deps.temporal.get_workflow_handle(invocation_id, result_type=ExecutionResult)
    if not anybodys and invocation_id.startswith(_prefix(deps, person)):
        return handle
    description = await _described(handle)
    if description.workflow_type != names.TOOL_RUN:
        raise NotFound("the invocation")
    if not anybodys and person.role not in ADMIN_ROLES and not await is_invoker(deps, person, invocation_id):
        raise NotFound("the invocation")
    return handle


async def is_invoker(deps: AppDeps, person: Principal, invocation_id: str) -> bool:
    """Whether it is this person's own. Runs that a chat started tell nothing by their id: they are asked."""
    if invocation_id.startswith(_prefix(deps, person)):
        return True
    handle = deps.temporal.get_workflow_handle(invocation_id)
    try:
        invoker = await handle.query(names.INVOKER, result_type=str, rpc_timeout=RPC_TIMEOUT)
    except WorkflowQueryFailedError:
        return False
    except RPCError as error:
        raise _translated(error) from error
    return bool(invoker) and invoker == person.person_id


async def _described(handle: WorkflowHandle[Any, Any]) -> Any:
    try:
        return await handle.describe(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        raise _translated(error) from error


async def _settled(handle: WorkflowHandle[Any, ExecutionResult], *, wait_s: float) -> ExecutionResult | None:
    """The result, also where the run still has to post it somewhere; nothing where it takes longer.

    Temporal tells the end of a run at once. A run that posts its result ends later, so it is asked now and then.
    """
    end, pause_s = time.monotonic() + wait_s, LOOK_EVERY_S
    while True:
        left = end - time.monotonic()
        try:
            async with asyncio.timeout(max(min(left, pause_s), BRIEF_S)):
                return await handle.result()
        except TimeoutError:
            found = await _asked(handle)
        except WorkflowFailureError:
            return _lost(handle.id)
        except RPCError as error:
            raise _translated(error) from error
        if found is not None or left <= pause_s:
            return found
        pause_s = min(2 * pause_s, LOOK_SELDOM_S)


async def _asked(handle: WorkflowHandle[Any, ExecutionResult]) -> ExecutionResult | None:
    try:
        found = await handle.query(names.RESULT, result_type=ExecutionResult, rpc_timeout=RPC_TIMEOUT)
    except (RPCError, WorkflowQueryFailedError):  # no worker answers now: then nothing is known yet
        return None
    return found if isinstance(found, ExecutionResult) else None


async def progress_of(deps: AppDeps, handle: WorkflowHandle[Any, Any]) -> ToolProgress:
    """Where it stands: the workflow's word, and what the activity said with its last heartbeat."""
    try:
        state = await handle.query(names.PROGRESS, result_type=ToolProgress, rpc_timeout=RPC_TIMEOUT)
    except (RPCError, WorkflowQueryFailedError):
        return ToolProgress()
    if state.state != "running":
        return state  # type: ignore[no-any-return]
    description = await _described(handle)
    for pending in description.raw_description.pending_activities:
        if pending.heartbeat_details.payloads:
            text, fraction = await deps.temporal.data_converter.decode(
                pending.heartbeat_details.payloads, cast(Any, [str, float | None])
            )
            return state.model_copy(update={"text": text, "fraction": fraction})  # type: ignore[no-any-return]
    return state  # type: ignore[no-any-return]


def _event(state: ToolProgress) -> ToolEvent:
    if state.waiting is not None:
        expires_at = datetime.fromtimestamp(state.waiting.expires_at, UTC)
        return ToolEvent("waiting", text=state.waiting.parameters_shown, expires_at=expires_at)
    return ToolEvent("progress", text=state.text, fraction=state.fraction)


async def _whole(deps: AppDeps, found: ExecutionResult) -> ExecutionResult:
    """The result with its output read back from the blob."""
    if found.output_blob is None:
        return found
    content = await deps.blobs.get(found.output_blob)
    return found.model_copy(update={"output": orjson.loads(content), "output_blob": None})


def _lost(invocation_id: str) -> ExecutionResult:
    error = ExecutionError(code="failed", message="the run ended without a result")
    lost = running(invocation_id, "")
    return lost.model_copy(update={"status": ExecutionStatus.FAILED, "error": error})


def _translated(error: Exception) -> NotFound | Unavailable:
    if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
        return NotFound("the invocation")
    return Unavailable("Temporal", "it does not take the call")


def _invocation_id(deps: AppDeps, person: Principal, key: str | None) -> str:
    """The same key of the same person is the same run; its id reveals its owner only with the id key."""
    if key is not None and not 0 < len(key) <= 255:
        raise BadInput("an idempotency key has 1 to 255 characters")
    secret = deps.keyring.current("id").secret
    suffix = keyed_id(secret, "invocation", person.person_id, key) if key else uuid.uuid4().hex
    return _prefix(deps, person) + suffix


def _prefix(deps: AppDeps, person: Principal) -> str:
    secret = deps.keyring.current("id").secret
    return f"tool-{keyed_id(secret, 'invoker', person.person_id)[:12]}-"
