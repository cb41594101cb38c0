"""Remembers which routes failed just now, so that not every turn waits for the same timeout."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

FIRST_REST_S = 10.0
LONGEST_REST_S = 160.0


@dataclass(frozen=True)
class _Failure:
    count: int
    until: float


class Circuit:
    """Of all routes of one process."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: dict[str, _Failure] = {}

    def failed(self, route: str, *, retry_after_s: float | None = None) -> None:
        """It rests for 10 s, twice as long with each failure in a row, or as long as it asks for."""
        earlier = self._failures.get(route)
        count = earlier.count + 1 if earlier else 1
        rest_s = max(min(FIRST_REST_S * 2 ** (count - 1), LONGEST_REST_S), retry_after_s or 0.0)
        self._failures[route] = _Failure(count, self._clock() + rest_s)

    def answered(self, route: str) -> None:
        self._failures.pop(route, None)

    def failing(self) -> frozenset[str]:
        """Routes to be tried after all others. One whose rest is over has its old place again."""
        now = self._clock()
        return frozenset(name for name, failure in self._failures.items() if failure.until > now)
