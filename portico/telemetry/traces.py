"""What a trace of a turn is: its names, its ids, and the few facts that it may hold. Off unless a collector is named.

The trace's id is the turn's id, so that nothing has to travel along: edge and worker know the turn, a step that is
executed again lands in the same trace, a replay makes no spans, and who has a turn's id has its trace. A conversation
is a workflow that never ends; a context carried in its headers would put every later turn into the first one's trace.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import structlog

Fact = str | int | float | bool

FACTS: Mapping[str, str] = {
    "attempt": "temporal.attempt",
    "channel": "portico.channel",
    "decision": "portico.decision.id",
    "effect": "portico.decision.effect",
    "end": "portico.end",
    "error": "error.type",
    "input_tokens": "gen_ai.usage.input_tokens",
    "invocation": "portico.invocation.id",
    "marked": "portico.delivery.marked",
    "outcome": "portico.outcome",
    "output_tokens": "gen_ai.usage.output_tokens",
    "queue": "temporal.task_queue",
    "route": "portico.route",
    "run": "temporal.run.id",
    "step": "portico.step",
    "tool": "portico.tool",
    "turn": "portico.turn.id",
    "waited_ms": "temporal.waited_ms",
    "workflow": "temporal.workflow.id",
}
"""Everything that a span may say. Names and ids: what people wrote has no place here, nor who they are."""

NOTHING: Mapping[str, Fact | None] = {}

_SAFE = re.compile(r"[A-Za-z0-9_.:@/-]{1,200}")
_TURN = re.compile(r"[0-9a-f]{32}")
_TOOL_RUN = re.compile(r"tool-([0-9a-f]{32})-[0-9]{1,6}")


def turn_of(invocation_id: str) -> str:
    """The turn that a tool run belongs to; a run that no turn started stands for itself."""
    found = _TOOL_RUN.fullmatch(invocation_id)
    return found[1] if found else invocation_id


def trace_id(turn: str) -> int:
    """128 bits: the turn's own, or for any other name the hash of it."""
    if _TURN.fullmatch(turn) and (number := int(turn, 16)):
        return number
    return int.from_bytes(_digest("trace", turn)[:16])


def span_id(turn: str, which: str) -> int:
    """64 bits that every process finds for the same span."""
    return int.from_bytes(_digest("span", turn, which)[:8]) or 1


def is_sampled(trace: int, ratio: float) -> bool:
    """The same answer in every process. Of the id itself some bits are always the same, of its hash none."""
    number = int.from_bytes(hashlib.sha256(trace.to_bytes(16)).digest()[:8])
    return number < ratio * 2**64


def clean(facts: Mapping[str, Fact | None]) -> dict[str, Fact]:
    """Only facts that are known, under their names. A text that is no id or name is not told."""
    kept: dict[str, Fact] = {}
    for name, value in facts.items():
        if value is None or value == "":
            continue
        if isinstance(value, str) and not _SAFE.fullmatch(value):
            value = "(not told)"
        kept[FACTS[name]] = value
    return kept


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(("portico", *parts)).encode("utf-8", "surrogatepass")).digest()


@dataclass
class Span:
    """What is found out while a span is open."""

    facts: dict[str, Fact | None] = field(default_factory=dict)
    failed: bool = False

    def tell(self, **facts: Fact | None) -> None:
        self.facts.update(facts)

    def fail(self, code: str) -> None:
        self.failed = True
        self.facts["error"] = code


class Traces:
    """Makes nothing. What does, is `portico.telemetry.otlp`, loaded where a collector is named."""

    on = False

    def span(
        self,
        name: str,
        turn: str,
        facts: Mapping[str, Fact | None] = NOTHING,
        *,
        root: bool = False,
        start_ns: int | None = None,
    ) -> AbstractContextManager[Span]:
        """A piece of a turn. `root`: what the turn began with, of which there is one."""
        return nullcontext(Span())

    def record(
        self, name: str, turn: str, facts: Mapping[str, Fact | None], *, start_ns: int, end_ns: int
    ) -> None:
        """A piece that is over; the same name and turn is the same span, however often it is recorded."""

    def close(self) -> None:
        """Send what waits, for a short time."""


@contextmanager
def named_in_logs(turn: str) -> Iterator[None]:
    """Lines that are logged meanwhile name the trace."""
    tokens = structlog.contextvars.bind_contextvars(trace_id=f"{trace_id(turn):032x}")
    try:
        yield
    finally:
        structlog.contextvars.reset_contextvars(**tokens)
