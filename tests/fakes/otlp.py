"""A collector of traces: takes OTLP over HTTP, decodes it, and keeps each span as it came.

with FakeCollector() as collector:                   # collector.url is the otlp_endpoint
    collector.wait_for("turn", lambda span: span.turn == turn)
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.fakes.server import FakeServer


@dataclass(frozen=True)
class TakenSpan:
    name: str
    trace: str
    id: str
    parent: str
    part: str
    start_ns: int
    end_ns: int
    failed: bool
    facts: dict[str, Any]

    @property
    def turn(self) -> str:
        return str(self.facts.get("portico.turn.id", ""))


class FakeCollector(FakeServer):
    def __init__(self, *, port: int = 0) -> None:
        super().__init__(port=port)
        self._lock = threading.Lock()
        self._spans: list[TakenSpan] = []
        self.bodies: list[bytes] = []
        """Each request as it was, decompressed: what a search for content goes through."""

    def routes(self, app: web.Application) -> None:
        app.router.add_post("/v1/traces", self._take)

    @property
    def spans(self) -> list[TakenSpan]:
        with self._lock:
            return list(self._spans)

    def of_turn(self, turn: str) -> list[TakenSpan]:
        return [span for span in self.spans if span.turn == turn]

    def wait_for(
        self, name: str, such: Callable[[TakenSpan], bool] = lambda span: True, *, timeout_s: float = 20
    ) -> TakenSpan:
        found: TakenSpan = self.wait_until(
            lambda: next((span for span in self.spans if span.name == name and such(span)), None),
            timeout_s=timeout_s,
            what=f"a span {name}",
        )
        return found

    async def _take(self, request: web.Request) -> web.Response:
        step = self.next_step("traces")
        if step is not None and step.status is not None:
            return web.Response(status=step.status)
        body = await request.read()
        if request.headers.get("content-encoding") == "gzip" and body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        message = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            self.bodies.append(body)
            self._spans += _spans(message)
        self.changed()
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")


def _spans(message: Any) -> list[TakenSpan]:
    return [
        TakenSpan(
            name=span.name,
            trace=span.trace_id.hex(),
            id=span.span_id.hex(),
            parent=span.parent_span_id.hex(),
            part=_facts(resource.resource.attributes)["service.name"],
            start_ns=span.start_time_unix_nano,
            end_ns=span.end_time_unix_nano,
            failed=span.status.code == 2,
            facts=_facts(span.attributes),
        )
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _facts(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
