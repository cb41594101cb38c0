"""Traces of turns: span names, ids and allowed attributes. A no-op unless the settings name a collector.

The trace id is derived from the turn id, so that no context has to be propagated: edge and worker know the turn, a
retried step joins the same trace, a replay creates no spans, and a turn id leads to its trace. A conversation
is a workflow that never ends; a context in its headers would put every later turn into the first trace.
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
"""All span attributes that are allowed: names and ids, never message content or identities."""

NOTHING: Mapping[str, Fact | None] = {}

_SAFE = re.compile(r"[A-Za-z0-9_.:@/-]{1,200}")
_TURN = re.compile(r"[0-9a-f]{32}")
_TOOL_RUN = re.compile(r"tool-([0-9a-f]{32})-[0-9]{1,6}")


def turn_of(invocation_id: str) -> str:
    """The turn of a tool run; a run that no turn started is its own turn."""
    match = _TOOL_RUN.fullmatch(invocation_id)
    return match[1] if match else invocation_id


def trace_id(turn: str) -> int:
    """128 bits: the turn id itself, or a hash of any other name."""
    if _TURN.fullmatch(turn) and (number := int(turn, 16)):
        return number
    return int.from_bytes(_digest("trace", turn)[:16])


def span_id(turn: str, which: str) -> int:
    """64 bits, the same in every process for the same span."""
    return int.from_bytes(_digest("span", turn, which)[:8]) or 1


def is_sampled(trace: int, ratio: float) -> bool:
    """The same result in every process. Hashes the id first, because some of its bits are constant."""
    number = int.from_bytes(hashlib.sha256(trace.to_bytes(16)).digest()[:8])
    return number < ratio * 2**64


def clean(facts: Mapping[str, Fact | None]) -> dict[str, Fact]:
    """Attributes that are allowed, under their names. Text that is neither id nor name is redacted."""
    kept: dict[str, Fact] = {}
    for name, value in facts.items():
        if value is None or value == "":
            continue
        if isinstance(value, str) and not _SAFE.fullmatch(value):
            value = "(redacted)"
        kept[FACTS[name]] = value
    return kept


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\0".join(("portico", *parts)).encode("utf-8", "surrogatepass")).digest()


@dataclass
class Span:
    """Attributes and status that are collected while a span is open."""

    facts: dict[str, Fact | None] = field(default_factory=dict)
    failed: bool = False

    def set(self, **facts: Fact | None) -> None:
        self.facts.update(facts)

    def fail(self, code: str) -> None:
        self.failed = True
        self.facts["error"] = code


class Traces:
    """No-op tracer; `portico.telemetry.otlp` is the real one, loaded if the settings name a collector."""

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
        """A span of a turn. `root`: the turn's first span, of which there is one."""
        return nullcontext(Span())

    def record(
        self, name: str, turn: str, facts: Mapping[str, Fact | None], *, start_ns: int, end_ns: int
    ) -> None:
        """Record a finished span; the same name, turn and start always give the same span id."""

    def close(self) -> None:
        """Flush pending spans, for a short time."""


@contextmanager
def named_in_logs(turn: str) -> Iterator[None]:
    """Add the trace id to log lines of this block."""
    tokens = structlog.contextvars.bind_contextvars(trace_id=f"{trace_id(turn):032x}")
    try:
        yield
    finally:
        structlog.contextvars.reset_contextvars(**tokens)
