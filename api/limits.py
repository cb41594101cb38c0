"""Rate limits of the edge: failed verifications by source address, verified events by account and chat.

Whoever is over a limit is told to come again (429), before anything is acked, so that nothing acked is dropped.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from portico.errors import TooMany

WINDOW_S = 60.0
TRACKED = 10_000


class Window:
    """Counts by key in windows of a minute; remembers a bounded number of keys."""

    def __init__(self, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def add(self, key: str) -> None:
        started, count = self._current(key)
        self._counts[key] = (started, count + 1)
        self._counts.move_to_end(key)
        while len(self._counts) > TRACKED:
            self._counts.popitem(last=False)

    def wait_s(self, key: str) -> float:
        """0 while there is room, else the time until the window ends."""
        if self._limit == 0:
            return 0.0
        started, count = self._current(key)
        return max(0.0, started + WINDOW_S - self._clock()) if count >= self._limit else 0.0

    def _current(self, key: str) -> tuple[float, int]:
        now = self._clock()
        started, count = self._counts.get(key, (now, 0))
        return (started, count) if now - started < WINDOW_S else (now, 0)


class Limits:
    """The two windows of the edge. Raises `TooMany`."""

    def __init__(self, *, failed_per_minute: int, messages_per_minute: int) -> None:
        self._failed = Window(failed_per_minute)
        self._messages = Window(messages_per_minute)

    def failed(self, source: str) -> None:
        self._failed.add(source)

    def check_source(self, source: str) -> None:
        """Refuses a source that failed too often, but never one that only sends much."""
        wait_s = self._failed.wait_s(source)
        if wait_s:
            raise TooMany("failed verifications", retry_after_s=wait_s)

    def check_sender(self, key: str) -> None:
        wait_s = self._messages.wait_s(key)
        if wait_s:
            raise TooMany("messages", retry_after_s=wait_s)
        self._messages.add(key)
