"""Rate limits of the edge: failed verifications by source address, verified events by account and chat.

A client over a limit gets 429 with `Retry-After` before anything is acknowledged, so that nothing is dropped later.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from portico.errors import TooMany

WINDOW_S = 60.0
TRACKED = 10_000
WATCHED_AT_ONCE = 32
RETRY_STREAM_S = 5.0


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
    """The windows of the edge, and how much may be open at once. Raises `TooMany`."""

    def __init__(
        self, *, failed_per_minute: int, messages_per_minute: int, invocations_per_minute: int = 0
    ) -> None:
        self._failed = Window(failed_per_minute)
        self._messages = Window(messages_per_minute)
        self._invocations = Window(invocations_per_minute)
        self._watching: Counter[str] = Counter()

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

    def check_invoker(self, person: str) -> None:
        wait_s = self._invocations.wait_s(person)
        if wait_s:
            raise TooMany("invocations", retry_after_s=wait_s)
        self._invocations.add(person)

    @contextmanager
    def watching(self, person: str) -> Iterator[None]:
        """One more stream of events, while it lasts; each is paid for in questions to Temporal."""
        if self._watching[person] >= WATCHED_AT_ONCE:
            raise TooMany("open streams", retry_after_s=RETRY_STREAM_S)
        self._watching[person] += 1
        try:
            yield
        finally:
            self._watching[person] -= 1
            if not self._watching[person]:
                del self._watching[person]
