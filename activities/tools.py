"""Runs a tool: checks its parameters, gives it time, and turns whatever becomes of it into a result.

A failing tool is a result, not an error of the activity: nobody is helped by calling it again.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import JsonValue
from pydantic_core import PydanticSerializationError, from_json, to_json
from temporalio import activity

from activities.functions.calculator import calculator
from activities.functions.time import time
from activities.heartbeat import beating
from portico.contracts import ExecutionError, ExecutionResult, ExecutionStatus
from portico.logs import logger
from portico.steps import ToolCall
from portico.tool import BadParameters, Person, ToolContext, ToolError, ToolFailed, ToolSpec, spec_of
from portico.tools.catalog import nearest

TOOLS: tuple[ToolSpec, ...] = (spec_of(calculator), spec_of(time))

DEFAULT_TIMEOUT_S = 30.0
GRACE_S = 1.0
"""How long a tool that was told to stop has to do so before its result is given up."""
LONGEST_OUTPUT = 1 << 20
MESSAGE_LIMIT = 300

_ESCAPING = (SystemExit, KeyboardInterrupt, StopIteration)
"""What the event loop would take as meant for itself."""

log = logger("tools")


class ToolSteps:
    """The step that runs a tool, and the tools that it knows."""

    def __init__(
        self, tools: Sequence[ToolSpec] = TOOLS, *, default_timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> None:
        self._tools = {spec.name: spec for spec in tools}
        self._default_timeout_s = default_timeout_s

    def spec(self, name: str) -> ToolSpec | None:
        return self._tools.get(name)

    def specs(self) -> tuple[ToolSpec, ...]:
        return tuple(self._tools[name] for name in sorted(self._tools))

    def problems(self) -> tuple[str, ...]:
        return ()

    def nearest(self, name: str) -> tuple[str, ...]:
        return nearest(name, self._tools)

    @activity.defn(name="execute_tool")
    async def execute(self, call: ToolCall) -> ExecutionResult:
        """What became of the call. Raises only where the worker is going away."""
        run = _Run(call, started_at=datetime.now(UTC))
        spec = self.spec(call.invocation.tool_name)
        if spec is None:
            return run.ended(ExecutionStatus.FAILED, code="no_such_tool", message="there is no such tool")
        try:
            arguments = spec.validate(dict(call.invocation.parameters))
        except BadParameters as problem:
            return run.ended(ExecutionStatus.FAILED, code=problem.code, message=problem.message)
        timeout_s = spec.timeout_s or min(call.timeout_s, self._default_timeout_s)
        return await run.run(spec, arguments, timeout_s)


class _Run:
    """One call of one tool."""

    def __init__(self, call: ToolCall, *, started_at: datetime) -> None:
        self._call = call
        self._started_at = started_at
        self._progress: tuple[str, float | None] = ("", None)
        self._stop = threading.Event()

    async def run(self, spec: ToolSpec, arguments: dict[str, Any], timeout_s: float) -> ExecutionResult:
        if spec.context_parameter:
            arguments[spec.context_parameter] = self._context()
        async with beating(lambda: self._progress):
            work = _started(spec, arguments)
            try:
                await asyncio.wait({work}, timeout=timeout_s)
            except asyncio.CancelledError:
                ended = await self._stopped(work)
                if not _is_cancel_requested():
                    raise
                return self._given_up(spec, ended, ExecutionStatus.CANCELLED, "cancelled", "stopped")
            if not work.done():
                ended = await self._stopped(work)
                return self._given_up(
                    spec, ended, ExecutionStatus.FAILED, "timeout", f"not done after {timeout_s:g} s"
                )
        return self._result(spec, work)

    def ended(
        self, status: ExecutionStatus, *, output: JsonValue = None, code: str = "", message: str = ""
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

    def _context(self) -> ToolContext:
        return ToolContext(
            invocation_id=self._call.invocation_id,
            person=Person(id=self._call.actor.id, role=self._call.actor.role),
            language=self._call.language,
            report=self._report,
            stop=self._stop,
        )

    def _report(self, text: str, fraction: float | None) -> None:
        self._progress = (text[:MESSAGE_LIMIT], fraction)

    async def _stopped(self, work: asyncio.Future[Any]) -> bool:
        """Tell the tool to stop; whether it did. A thread cannot be ended, only asked."""
        self._stop.set()
        if isinstance(work, asyncio.Task):
            work.cancel()
        await asyncio.wait({work}, timeout=GRACE_S)
        return work.done()

    def _given_up(
        self, spec: ToolSpec, ended: bool, status: ExecutionStatus, code: str, message: str
    ) -> ExecutionResult:
        """A tool that changes things and still runs may yet change them: nobody can say how it ends."""
        if spec.effects == "write" and not ended:
            status = ExecutionStatus.UNKNOWN
        return self.ended(status, code=code, message=message)

    def _result(self, spec: ToolSpec, work: asyncio.Future[Any]) -> ExecutionResult:
        if work.cancelled():
            return self.ended(ExecutionStatus.FAILED, code="tool_failed", message="the tool ended itself")
        error = work.exception()
        if isinstance(error, ToolError):
            return self.ended(ExecutionStatus.FAILED, code=error.code, message=error.message)
        if error is not None:
            where = _where(error, spec)
            log.warning("tool.bug", tool=spec.name, error=type(error).__name__, where=where)
            return self.ended(
                ExecutionStatus.FAILED, code="tool_failed", message=f"{type(error).__name__} at {where}"
            )
        return self._with_output(work.result())

    def _with_output(self, output: Any) -> ExecutionResult:
        try:
            written = to_json(output, inf_nan_mode="null")
        except (PydanticSerializationError, ValueError):
            kind = type(output).__name__
            return self.ended(
                ExecutionStatus.FAILED,
                code="bad_output",
                message=f"its answer, a {kind}, does not fit into JSON",
            )
        if len(written) > LONGEST_OUTPUT:
            return self.ended(
                ExecutionStatus.FAILED,
                code="output_too_large",
                message=f"its answer: {len(written)} bytes",
            )
        return self.ended(ExecutionStatus.SUCCEEDED, output=from_json(written))


def _started(spec: ToolSpec, arguments: dict[str, Any]) -> asyncio.Future[Any]:
    """The running call. An ordinary function gets a thread of its own: one that hangs stops no other."""
    if spec.is_async:
        return asyncio.create_task(_awaited(spec, arguments))
    context = contextvars.copy_context()
    executor = ThreadPoolExecutor(1, thread_name_prefix=f"tool-{spec.name}")
    work = asyncio.wrap_future(executor.submit(context.run, _called, spec, arguments))
    executor.shutdown(wait=False)
    # A thread that outlives its call may still fail; by then nobody asks.
    work.add_done_callback(lambda done: done.cancelled() or done.exception())
    return work


async def _awaited(spec: ToolSpec, arguments: dict[str, Any]) -> Any:
    try:
        return await spec.function(**arguments)
    except _ESCAPING as error:
        raise ToolFailed(f"it raised {type(error).__name__}") from None


def _called(spec: ToolSpec, arguments: dict[str, Any]) -> Any:
    try:
        return spec.function(**arguments)
    except _ESCAPING as error:
        raise ToolFailed(f"it raised {type(error).__name__}") from None


def _is_cancel_requested() -> bool:
    """True where somebody stopped the run, false where the worker goes away or the attempt is over."""
    details = activity.cancellation_details()
    return details is None or details.cancel_requested


def _where(error: BaseException, spec: ToolSpec) -> str:
    """File and line of the tool that failed. The error's own words stay out: they may hold secrets."""
    own = spec.function.__code__.co_filename
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    return f"{Path(own).name}:{lines[-1].lineno}" if lines else Path(own).name
