"""Which turn a lane is at work on: set by the turn boundary, read by what traces the steps. It steers nothing."""

from __future__ import annotations

from contextvars import ContextVar

TURN: ContextVar[str] = ContextVar("turn", default="")
