"""What the worker tells of its work: span and measurement of each step, and of each turn from arrival to reply.

Beside the work, never in its way: interceptors that read what goes into an activity and what comes out. In workflow
code nothing is told while history is replayed.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.common import MetricMeter
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.runtime import Runtime
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    StartActivityInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from channels.facts import LIVE
from portico.contracts.messages import ExecutionResult
from portico.contracts.steps import (
    DeadLetterInput,
    Delivered,
    DeliverInput,
    Generated,
    Normalized,
    NormalizeInput,
)
from portico.settings.settings import Settings
from portico.telemetry.start import start_traces
from portico.telemetry.traces import Fact, Span, Traces, turn_of
from portico.telemetry.worker_metrics import SECONDS, WorkerMetrics, label, sdk_runtime
from workflows.turn_context import TURN

HEADER = "portico-turn"
ASKS_POLICY = "authorize_"
TOOL_STEPS = ("execute", "execute_named")
TURNS_KNOWN = 256
"""Limit for one conversation; an event without a reply has no end to wait for."""


@dataclass(frozen=True)
class Watching:
    """What a worker is given so that it tells of its work: nothing of it where the settings ask for nothing."""

    traces: Traces
    runtime: Runtime | None = None
    interceptors: tuple[Interceptor, ...] = ()

    async def close(self) -> None:
        """Send the last spans; a collector that does not respond delays nothing."""
        await asyncio.to_thread(self.traces.close)


def watch(settings: Settings) -> Watching:
    """Raises `Misconfigured` if the metrics address cannot be bound, or traces must not leave the machine."""
    traces = start_traces(settings, part="worker")
    address = settings.telemetry.metrics_address
    runtime = sdk_runtime(address, json_lines=settings.log.json_lines)
    if not address and not traces.on:
        return Watching(traces, runtime)
    meter = runtime.metric_meter if runtime and address else MetricMeter.noop
    metrics = WorkerMetrics(meter)
    metrics.begin((*LIVE, *settings.channels))
    return Watching(traces, runtime, (Observer(traces, metrics),))


class Observer(Interceptor):
    """Outermost of a worker's interceptors, so that it sees each error as Temporal does."""

    def __init__(self, traces: Traces, metrics: WorkerMetrics) -> None:
        self._traces = traces
        self._metrics = metrics

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Step(super().intercept_activity(next), self._traces, self._metrics)

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        """The SDK makes one of these for each workflow: what they share is the class's."""
        return type("_Watched", (_Watch,), {"traces": self._traces})


class _Step(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, traces: Traces, metrics: WorkerMetrics) -> None:
        super().__init__(next)
        self._traces = traces
        self._metrics = metrics

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        step = "execute" if input.fn.__name__ in TOOL_STEPS else input.fn.__name__
        given = input.args[0] if input.args else None
        facts = _circumstances(given)
        with self._traces.span(step, _turn(input, given), facts) as span, _Attempt(self._metrics, step, span):
            result = await self.next.execute_activity(input)
            self._count(step, given, result)
            _tell(span, result)
            return result

    def _count(self, step: str, given: Any, result: Any) -> None:
        """What a step that succeeded adds to the figures."""
        metrics = self._metrics
        if isinstance(given, NormalizeInput):
            metrics.arrival(given.conversation.channel, _arrived(result))
        elif isinstance(given, DeliverInput) and result.outcome != "wait":
            metrics.delivery(given.conversation.channel, result.outcome, marked=result.marked)
        elif isinstance(given, DeadLetterInput):
            metrics.dead_letter(given.code)
        elif isinstance(result, Generated):
            metrics.tokens(result.route, "input", result.input_tokens or 0)
            metrics.tokens(result.route, "output", result.output_tokens or 0)
        elif isinstance(result, ExecutionResult):
            metrics.tool_run(result.tool_name, result.status.value)
        if step.startswith(ASKS_POLICY) and (effect := _effect(result)):
            metrics.decision(step.removeprefix(ASKS_POLICY), effect)


class _Attempt:
    """Measures, and says how it ended; an error passes through."""

    def __init__(self, metrics: WorkerMetrics, step: str, span: Span) -> None:
        self._metrics = metrics
        self._step = step
        self._span = span

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        end = _end_of(error)
        self._span.set(end=end)
        self._metrics.step(self._step, end, time.perf_counter() - self._began)


def _turn(input: ExecuteActivityInput, given: Any) -> str:
    """Of a tool run it is in the run's id, else in what the step is given, else in the header that `_Watch` sets."""
    workflow_id = activity.info().workflow_id or ""
    if workflow_id.startswith("tool-"):
        return turn_of(workflow_id)
    header = input.headers.get(HEADER)
    return getattr(given, "turn_id", "") or (header.data.decode() if header else "") or workflow_id


def _circumstances(given: Any) -> dict[str, Fact | None]:
    info = activity.info()
    waited = info.started_time - info.current_attempt_scheduled_time
    conversation = getattr(given, "conversation", None)
    route = getattr(given, "route", None)
    return {
        "workflow": info.workflow_id,
        "run": info.workflow_run_id,
        "queue": info.task_queue,
        "attempt": info.attempt,
        "waited_ms": round(max(0.0, waited.total_seconds()) * 1000, 1),
        "channel": getattr(conversation, "channel", None),
        "decision": getattr(given, "decision_id", None),
        "route": getattr(route, "name", None),
    }


def _tell(span: Span, result: Any) -> None:
    span.set(effect=_effect(result))
    if isinstance(result, Normalized):
        span.set(outcome=_arrived(result))
    elif isinstance(result, Delivered):
        span.set(outcome=result.outcome, marked=result.marked)
    elif isinstance(result, Generated):
        span.set(route=result.route, input_tokens=result.input_tokens, output_tokens=result.output_tokens)
    elif isinstance(result, ExecutionResult):
        span.set(tool=result.tool_name, outcome=result.status.value, invocation=result.invocation_id)


def _arrived(result: Normalized) -> str:
    return "repeat" if result.repeat else "message" if result.message is not None else "ignored"


def _effect(result: Any) -> str:
    decision = getattr(result, "decision", None)
    return decision.effect.value if decision is not None else ""


def _end_of(error: BaseException | None) -> str:
    if error is None:
        return "ok"
    if isinstance(error, asyncio.CancelledError | CancelledError):
        return "cancelled"
    return "failed" if isinstance(error, ApplicationError) and error.non_retryable else "again"


class _Watch(WorkflowInboundInterceptor):
    """One for each workflow that this worker runs."""

    traces: Traces

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_WatchedSteps(outbound, self.traces))


class _WatchedSteps(WorkflowOutboundInterceptor):
    """Gives steps the name of their turn, and measures from the first of a turn to its reply."""

    def __init__(self, next: WorkflowOutboundInterceptor, traces: Traces) -> None:
        super().__init__(next)
        self._traces = traces
        self._arrived_at: OrderedDict[str, float] = OrderedDict()

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:
        given = self._named(input)
        if isinstance(given, NormalizeInput):
            self._arrived_at[given.turn_id] = given.envelope.received_at
            if len(self._arrived_at) > TURNS_KNOWN:
                self._arrived_at.popitem(last=False)
        return self.next.start_local_activity(input)

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        given = self._named(input)
        handle = self.next.start_activity(input)
        if isinstance(given, DeliverInput) and given.kind == "reply":
            handle.add_done_callback(lambda done: self._left(given, done))
        return handle

    def _named(self, input: StartLocalActivityInput | StartActivityInput) -> Any:
        given = input.args[0] if input.args else None
        turn = TURN.get()
        if turn and not getattr(given, "turn_id", ""):
            header = Payload(metadata={"encoding": b"json/plain"}, data=turn.encode())
            input.headers = {**input.headers, HEADER: header}
        return given

    def _left(self, given: DeliverInput, done: asyncio.Future[Any]) -> None:
        if done.cancelled() or done.exception() is not None or done.result().outcome != "sent":
            return
        began = self._arrived_at.pop(given.turn_id, None)
        if began is None or workflow.unsafe.is_replaying():
            return
        now, info = workflow.now().timestamp(), workflow.info()
        channel = given.conversation.channel
        histogram = workflow.metric_meter().create_histogram_float(
            "portico_turn", "Time from a message's arrival to its reply", SECONDS
        )
        histogram.record(max(0.0, now - began), {"channel": label(channel)})
        self._traces.record(
            "turn",
            given.turn_id,
            {"workflow": info.workflow_id, "run": info.run_id, "channel": channel, "outcome": "sent"},
            start_ns=int(began * 1e9),
            end_ns=int(now * 1e9),
        )
