"""OpenTelemetry tracer that exports by OTLP over HTTP. Loaded only if the settings name a collector.

Own ids and sampler, no global provider: libraries with instrumentation of their own find no provider.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import TracebackType
from urllib.parse import urlsplit

import requests
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import Attributes

from portico.addresses import is_public, parse_address
from portico.errors import Misconfigured
from portico.logs import logger
from portico.settings.settings import Settings
from portico.telemetry.traces import (
    NOTHING,
    Fact,
    Span,
    Traces,
    clean,
    is_sampled,
    named_in_logs,
    span_id,
    trace_id,
)

SEND_EVERY_MS = 1_000
WAITING_SPANS = 4_096
"""Queue limit while the collector does not respond; on overflow new spans are dropped."""
EXPORT_TIMEOUT_S = 3.0
CLOSE_WITHIN_S = 2.0
LOG_AGAIN_S = 60.0

log = logger("traces")


class OtlpTraces(Traces):
    """The spans of one process."""

    on = True

    def __init__(self, settings: Settings, *, part: str) -> None:
        telemetry = settings.telemetry
        exporter = _CollectorExporter(telemetry.otlp_endpoint, local_only=settings.local_only)
        self._provider = TracerProvider(
            sampler=_TurnSampler(telemetry.sample_ratio),
            resource=Resource({"service.name": f"portico-{part}", "service.namespace": "portico"}),
            id_generator=_TurnIds(),
            span_limits=SpanLimits(max_attributes=32, max_attribute_length=200),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=WAITING_SPANS,
                schedule_delay_millis=SEND_EVERY_MS,
                export_timeout_millis=int(EXPORT_TIMEOUT_S * 1000),
            )
        )
        self._tracer = self._provider.get_tracer("portico")

    def span(
        self,
        name: str,
        turn: str,
        facts: Mapping[str, Fact | None] = NOTHING,
        *,
        root: bool = False,
        start_ns: int | None = None,
    ) -> AbstractContextManager[Span]:
        begun = self._begin(name, turn, fixed_id=span_id(turn, "root") if root else 0, start_ns=start_ns)
        return _OpenSpan(begun, Span({"turn": turn, **facts}), turn)

    def record(
        self, name: str, turn: str, facts: Mapping[str, Fact | None], *, start_ns: int, end_ns: int
    ) -> None:
        begun = self._begin(name, turn, fixed_id=span_id(turn, f"{name} {start_ns}"), start_ns=start_ns)
        _end(begun, Span({"turn": turn, **facts}), end_ns=end_ns)

    def close(self) -> None:
        """Bounded flush: a collector may hang, and the process has to exit."""
        ending = threading.Thread(target=self._provider.shutdown, name="traces.close", daemon=True)
        ending.start()
        ending.join(CLOSE_WITHIN_S)

    def _begin(self, name: str, turn: str, *, fixed_id: int, start_ns: int | None) -> trace.Span:
        number = trace_id(turn)
        root = span_id(turn, "root")
        context = Context()
        if fixed_id != root:
            parent = SpanContext(number, root, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
            context = trace.set_span_in_context(NonRecordingSpan(parent), context)
        token = _IDS.set((number, fixed_id))
        try:
            return self._tracer.start_span(name, context, SpanKind.INTERNAL, start_time=start_ns)
        finally:
            _IDS.reset(token)


class _OpenSpan:
    """A span until the block ends; an error is recorded by its code and re-raised."""

    def __init__(self, begun: trace.Span, collected: Span, turn: str) -> None:
        self._begun = begun
        self._collected = collected
        self._logs = named_in_logs(turn)

    def __enter__(self) -> Span:
        self._logs.__enter__()
        return self._collected

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        self._logs.__exit__(kind, error, trace_back)
        if error is not None:
            self._collected.fail(_code_of(error))
        _end(self._begun, self._collected)


def _code_of(error: BaseException) -> str:
    """Error code of our own errors (`code`) and Temporal's (`type`); never the message."""
    known = (getattr(error, name, None) for name in ("code", "type"))
    return next((code for code in known if isinstance(code, str) and code), type(error).__name__)


def _end(begun: trace.Span, collected: Span, *, end_ns: int | None = None) -> None:
    if begun.is_recording():
        begun.set_attributes(clean(collected.facts))
        if collected.failed:
            begun.set_status(Status(StatusCode.ERROR))
    begun.end(end_ns)


_IDS: ContextVar[tuple[int, int]] = ContextVar("ids", default=(0, 0))


class _TurnIds(IdGenerator):
    """Ids derived from the turn; random ids for spans without a turn."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()

    def generate_trace_id(self) -> int:
        return _IDS.get()[0] or self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        return _IDS.get()[1] or self._random.generate_span_id()


class _TurnSampler(Sampler):
    """Samples whole turns: a turn is traced by all processes or by no process."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[trace.Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        sampled = is_sampled(trace_id, self._ratio)
        return SamplingResult(Decision.RECORD_AND_SAMPLE if sampled else Decision.DROP)

    def get_description(self) -> str:
        return f"TurnSampler{{{self._ratio}}}"


class _CollectorExporter(SpanExporter):
    """Exports to the configured collector, without proxies; in local mode only to addresses inside the network.

    If the collector is unavailable, its spans are dropped with one log line a minute; turns are not affected.
    """

    def __init__(self, endpoint: str, *, local_only: bool) -> None:
        self._host = str(urlsplit(endpoint).hostname)
        self._local_only = local_only
        if local_only and _leads_outside(self._host):
            raise Misconfigured(
                f"telemetry.otlp_endpoint: {self._host} is outside this network and local_only is on; "
                "name a collector inside, or set local_only = false"
            )
        session = requests.Session()
        session.trust_env = False
        logging.getLogger("opentelemetry").setLevel(
            logging.CRITICAL
        )  # we log failures ourselves, once a minute
        self._otlp = OTLPSpanExporter(f"{endpoint}/v1/traces", timeout=EXPORT_TIMEOUT_S, session=session)
        self._logged_at = -LOG_AGAIN_S

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._local_only and _leads_outside(self._host):
            return self._lost(len(spans), "its address is outside this network")
        if self._otlp.export(spans) is SpanExportResult.SUCCESS:
            return SpanExportResult.SUCCESS
        return self._lost(len(spans), "it does not accept them")

    def _lost(self, number: int, why: str) -> SpanExportResult:
        now = time.monotonic()
        if now - self._logged_at >= LOG_AGAIN_S:
            self._logged_at = now
            log.warning("traces.not_sent", collector=self._host, spans=number, why=why)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self._otlp.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


def _leads_outside(host: str) -> bool:
    """Whether any of its addresses is public. A name that does not resolve (yet) has no address."""
    try:
        entries = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(is_public(parse_address(str(entry[4][0]))) for entry in entries)
