"""Runs a tool: holds it against what was decided, gives it time, and turns whatever becomes of it into a result.

A failing tool is a result, not an error of the activity: a retry would not help. Only a lost process of
a function that may be repeated is an error, which Temporal repeats.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

from pydantic import JsonValue
from pydantic_core import to_json
from temporalio import activity
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from activities.heartbeat import beating
from portico.contracts.messages import (
    Artifact,
    BlobRef,
    ConversationRef,
    ExecutionError,
    ExecutionResult,
    ExecutionStatus,
)
from portico.contracts.steps import ToolCall
from portico.errors import PorticoError, Unavailable
from portico.logs import logger
from portico.tool import ToolError, ToolFailed, ToolSpec
from portico.tools.catalog import Catalog, EndUnknown, RunningTool
from portico.tools.functions.process import ProcessLost

DEFAULT_TIMEOUT_S = 30.0
GRACE_S = 1.0
"""Grace period of a stopped tool before its process is killed."""
QUEUE_S = 20.0
"""How long a call waits for a place; part of the time that the workflow adds to the tool's own."""
MOST_WAITING = 128
"""Calls of one tool; each keeps one of the worker's places for activities."""
INLINE_OUTPUT = 128 * 1024
"""A larger output is stored in a blob; payloads of this size still pass without external storage."""
LONGEST_OUTPUT = 16 << 20
PREVIEW = 3000
MESSAGE_LIMIT = 300

STEP_NAMES = frozenset(
    {
        "normalize",
        "authorize_inbound",
        "authorize_model",
        "authorize_egress",
        "authorize_tool",
        "offer_pairing",
        "redeem_pairing",
        "understand",
        "retrieve",
        "offer_tools",
        "look_up_tool",
        "authorize_approval",
        "generate",
        "collect",
        "deliver",
        "remember",
        "record_dead_letter",
        "execute_tool",
        "authorize_callback",
        "post_callback",
    }
)
"""Activities of Portico's own: a tool of such a name would never be reached."""

Publish = Callable[[str, dict[str, Any]], None]
Typing = Callable[[ConversationRef | None], AbstractAsyncContextManager[None]]
KeepArtifact = Callable[..., Awaitable[Artifact]]
KeepOutput = Callable[..., Awaitable[BlobRef]]

log = logger("tools")


class ToolSteps:
    """The step that runs a tool: under its own name in the history, or as `execute_tool` in older ones."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        keep_artifact: KeepArtifact,
        keep_output: KeepOutput,
        publish: Publish = lambda topic, update: None,
        typing: Typing = lambda conversation: nullcontext(),
        default_timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self.catalog = catalog
        self._typing = typing
        self._keep_artifact = keep_artifact
        self._keep_output = keep_output
        self._publish = publish
        self._default_timeout_s = default_timeout_s
        self._places: defaultdict[str, _Places] = defaultdict(_Places)

    @activity.defn(name="execute_tool")
    async def execute(self, call: ToolCall) -> ExecutionResult:
        """What became of the call. Raises only where it may be repeated, or the worker is going away."""
        run = _Run(call, self._publish, started_at=datetime.now(UTC))
        spec = self.catalog.spec(call.invocation.tool_name)
        refused = _refusal(call, spec)
        if refused is not None or spec is None:
            return run.ended(ExecutionStatus.FAILED, *(refused or ("no_such_tool", "there is no such tool")))
        timeout_s = spec.timeout_s or min(call.timeout_s, self._default_timeout_s)
        tool = RunningTool(run.report, self._keeper(call), attempt=activity.info().attempt)
        places = self._places[spec.name]
        async with beating(lambda: run.progress), self._typing(call.conversation):
            if not await places.take(spec.concurrency):
                limit = f"it runs {spec.concurrency} times at once already, which is its limit"
                return run.ended(ExecutionStatus.FAILED, "too_many", limit)
            try:
                result = await run.run(self.catalog, spec, tool, timeout_s)
            finally:
                places.give_back()
            return await self._small(result, call)

    @activity.defn(dynamic=True)
    async def execute_named(self, given: Sequence[RawValue]) -> ExecutionResult:
        """The same under the tool's own name."""
        call: ToolCall = activity.payload_converter().from_payload(given[0].payload, ToolCall)
        return await self.execute(call)

    def _keeper(self, call: ToolCall) -> Callable[[str, bytes, str], Awaitable[Artifact]]:
        async def keep(name: str, data: bytes, media_type: str) -> Artifact:
            return await self._keep_artifact(
                call.invocation_id, name, data, media_type, person_id=call.actor.id
            )

        return keep

    async def _small(self, result: ExecutionResult, call: ToolCall) -> ExecutionResult:
        """With the output in a blob where it is large, and its beginning for people."""
        written = to_json(result.output, inf_nan_mode="null") if result.output is not None else b""
        if len(written) <= INLINE_OUTPUT:
            return result
        if len(written) > LONGEST_OUTPUT:
            error = ExecutionError(code="output_too_large", message=f"its answer: {len(written)} bytes")
            update = {"status": ExecutionStatus.FAILED, "output": None, "error": error}
            return result.model_copy(update=update)
        blob = await self._keep_output(call.invocation_id, written, person_id=call.actor.id)
        return result.model_copy(update={"output": _preview(result.output, written), "output_blob": blob})


class _Places:
    """Places of one tool, taken in turn."""

    def __init__(self) -> None:
        self._taken = 0
        self._waiting: list[asyncio.Future[None]] = []

    async def take(self, limit: int) -> bool:
        """False where none becomes free in time, or too many wait already."""
        if self._taken < limit and not self._waiting:
            self._taken += 1
            return True
        if len(self._waiting) >= MOST_WAITING:
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(QUEUE_S):
                await asyncio.shield(turn)
        except TimeoutError:
            if not turn.done():
                self._waiting.remove(turn)
                return False
        except asyncio.CancelledError:
            if turn.done():
                self.give_back()
            else:
                self._waiting.remove(turn)
            raise
        return True

    def give_back(self) -> None:
        if self._waiting:
            self._waiting.pop(0).set_result(None)  # the place goes on to who waits longest
        else:
            self._taken -= 1


class _Run:
    """One call of one tool."""

    def __init__(self, call: ToolCall, publish: Publish, *, started_at: datetime) -> None:
        self.progress: tuple[str, float | None] = ("", None)
        self._call = call
        self._publish = publish
        self._started_at = started_at

    def report(self, text: str, fraction: float | None) -> None:
        """How far it is: with the next heartbeat, and live for who looks on."""
        self.progress = (text[:MESSAGE_LIMIT], fraction)
        update = {
            "kind": "progress",
            "invocation": self._call.invocation_id,
            "tool": self._call.invocation.tool_name,
            "text": text[:MESSAGE_LIMIT],
            "fraction": fraction,
        }
        self._publish(self._call.invocation_id, update)
        if self._call.conversation is not None:
            self._publish(self._call.conversation.id, update)

    async def run(
        self, catalog: Catalog, spec: ToolSpec, tool: RunningTool, timeout_s: float
    ) -> ExecutionResult:
        source = catalog.source_of(spec.name)
        work = asyncio.create_task(source.execute(spec, self._call, tool))
        work.add_done_callback(_look_at)
        try:
            await _in_time(work, tool, timeout_s)
        except asyncio.CancelledError:
            ended = await _stopped(work, tool)
            if not _is_cancel_requested():
                raise
            return self._given_up(spec, ended, ExecutionStatus.CANCELLED, "cancelled", "stopped")
        if not work.done():
            held = tool.held
            ended = await _stopped(work, tool)
            if held:
                return self.ended(ExecutionStatus.FAILED, "too_many", "too many functions run at once")
            message = f"not done after {timeout_s:g} s"
            return self._given_up(spec, ended, ExecutionStatus.FAILED, "timeout", message)
        return self._result(spec, work, tool)

    def ended(
        self, status: ExecutionStatus, code: str = "", message: str = "", *, output: JsonValue = None
    ) -> ExecutionResult:
        return ExecutionResult(
            invocation_id=self._call.invocation_id,
            tool_name=self._call.invocation.tool_name,
            status=status,
            output=output,
            error=ExecutionError(code=code, message=" ".join(message.split())[:MESSAGE_LIMIT])
            if code
            else None,
            decision_id=self._call.decision_id,
            started_at=self._started_at,
            ended_at=datetime.now(UTC),
        )

    def _given_up(
        self, spec: ToolSpec, ended: bool, status: ExecutionStatus, code: str, message: str
    ) -> ExecutionResult:
        """A tool that changes things and was killed may have changed them: its outcome is unknown."""
        if spec.effects == "write" and not ended:
            status = ExecutionStatus.UNKNOWN
        return self.ended(status, code, message)

    def _result(self, spec: ToolSpec, work: asyncio.Task[JsonValue], tool: RunningTool) -> ExecutionResult:
        if work.cancelled():
            return self.ended(ExecutionStatus.FAILED, "tool_failed", "the tool ended itself")
        error = work.exception()
        if isinstance(error, ProcessLost):
            return self._lost(spec, error)
        if isinstance(error, EndUnknown):
            return self._unknown(spec, error)
        if isinstance(error, Unavailable):
            raise error
        if isinstance(error, PorticoError):
            code = error.code if isinstance(error, ToolError) else ToolFailed.code
            # A function knows that nothing came of its work where the sandbox went away under it.
            status = ExecutionStatus.INTERRUPTED if code == ProcessLost.code else ExecutionStatus.FAILED
            return self.ended(status, code, error.message)
        if error is not None:
            raise error
        result = self.ended(ExecutionStatus.SUCCEEDED, output=work.result())
        return result.model_copy(update={"artifacts": tool.artifacts})

    def _lost(self, spec: ToolSpec, error: ProcessLost) -> ExecutionResult:
        """Its process is gone. What may be repeated is; for the rest the outcome is unknown."""
        log.warning("tool.process_lost", tool=spec.name, status=error.status)
        if error.by_itself:
            message = f"the function ended its own process ({error.status})"
            return self.ended(ExecutionStatus.FAILED, "tool_failed", message)
        if self._call.repeatable:
            raise ApplicationError(error.message, type=ProcessLost.code)
        return self.ended(ExecutionStatus.UNKNOWN, ProcessLost.code, error.message)

    def _unknown(self, spec: ToolSpec, error: EndUnknown) -> ExecutionResult:
        """Only what changes nothing, or may be done twice, can be called interrupted and no more."""
        if self._call.repeatable:
            raise ApplicationError(error.message, type=error.code)
        changes = spec.effects == "write"
        return self.ended(
            ExecutionStatus.UNKNOWN if changes else ExecutionStatus.INTERRUPTED, error.code, error.message
        )


def _refusal(call: ToolCall, spec: ToolSpec | None) -> tuple[str, str] | None:
    """Why what was decided about cannot be run here."""
    if call.content_hash and (spec is None or spec.content_hash != call.content_hash):
        return "tool_changed", "the tool has changed since this was decided"
    if spec is not None and spec.unavailable:
        return "unavailable", spec.unavailable
    return None


def _look_at(work: asyncio.Task[Any]) -> None:
    """Retrieve the exception of an abandoned run, which asyncio would otherwise report as never retrieved."""
    if not work.cancelled():
        work.exception()


async def _in_time(work: asyncio.Task[Any], tool: RunningTool, timeout_s: float) -> None:
    """Until it is done or its time is over. Waiting for a process is not its time."""
    loop = asyncio.get_running_loop()
    last = loop.time() + QUEUE_S + timeout_s
    while not work.done():
        began = tool.began_at
        end = last if began is None else min(began + timeout_s, last)
        if loop.time() >= end:
            return
        # While it waits for a process, look now and then whether it has begun.
        await asyncio.wait({work}, timeout=end - loop.time() if began is not None else 0.2)


async def _stopped(work: asyncio.Task[Any], tool: RunningTool) -> bool:
    """Tell the tool to stop, then end it; whether it stopped by itself."""
    tool.cancelled.set()
    await asyncio.wait({work}, timeout=GRACE_S)
    if work.done():
        return True
    work.cancel()
    await asyncio.wait({work})
    return False


def _preview(output: JsonValue, written: bytes) -> JsonValue:
    if isinstance(output, dict) and isinstance(output.get("text"), str):
        return {"text": str(output["text"])[:PREVIEW] + " …"}
    text = output if isinstance(output, str) else written.decode(errors="replace")
    return text[:PREVIEW] + " …"


def _is_cancel_requested() -> bool:
    """True if a person stopped the run, false if the worker shuts down or the attempt is over."""
    details = activity.cancellation_details()
    return details is None or details.cancel_requested
