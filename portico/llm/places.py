"""How many answers of a route are written at once: places that all processes of this machine share.

A place is a locked file, so it is free again whatever becomes of its holder. Who waits stands in line: first
in, first out within a process; between processes a turnstile passes from one to the other, so that neither
chats nor programs at the edge are starved.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from portico.errors import Busy

TICK_S = 0.02
LONGEST_WAIT_S = 20.0
"""A turn that waited this long gives its activity slot back and stands in line again."""
COME_AGAIN_S = 2.0


class RoutePlaces:
    """The places of one route, for one process and event loop."""

    def __init__(
        self,
        folder: Path,
        route: str,
        *,
        places: int,
        queue: int,
        full: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`full`: whether too many wait already, for this and other routes together."""
        self.waiting = 0
        self.held = 0
        self._route = route
        self._queue = queue
        self._full = full
        self._clock = clock
        self._head = asyncio.Lock()
        self._let_others_until = 0.0
        # A route's name may hold what no file's name can.
        stem = hashlib.sha256(route.encode()).hexdigest()[:16]
        self._turnstile = folder / f"{stem}.turnstile"
        self._places = [folder / f"{stem}.{number}" for number in range(places)]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @asynccontextmanager
    async def place(self, *, wait_s: float = LONGEST_WAIT_S) -> AsyncIterator[None]:
        """Hold a place during the block. Raises `Busy` where the line is full or the wait too long."""
        held = await self._take(wait_s)
        self.held += 1
        try:
            yield
        finally:
            self.held -= 1
            os.close(held)

    async def _take(self, wait_s: float) -> int:
        if not self._head.locked():
            turnstile = _lock(self._turnstile)
            if turnstile is not None:
                try:
                    if (place := self._free()) is not None:
                        return place
                finally:
                    os.close(turnstile)
        if self.waiting >= self._queue or self._full():
            raise Busy(f"model route {self._route}", "too many wait for it", retry_after_s=COME_AGAIN_S)
        self.waiting += 1
        try:
            async with asyncio.timeout(wait_s), self._head:
                return await self._at_the_head()
        except TimeoutError:
            why = f"all its places were taken for {wait_s:g} s"
            raise Busy(f"model route {self._route}", why, retry_after_s=COME_AGAIN_S) from None
        finally:
            self.waiting -= 1

    async def _at_the_head(self) -> int:
        await asyncio.sleep(max(0.0, self._let_others_until - self._clock()))
        turnstile = await _until(lambda: _lock(self._turnstile))
        try:
            place = await _until(self._free)
        finally:
            os.close(turnstile)
        # Who waits before the turnstile in another process looks every tick: it is its turn now.
        self._let_others_until = self._clock() + 2 * TICK_S
        return place

    def _free(self) -> int | None:
        return next((place for file in self._places if (place := _lock(file)) is not None), None)


async def _until(look: Callable[[], int | None]) -> int:
    """Other processes do not signal a release, so this polls."""
    while True:
        found = look()
        if found is not None:
            return found
        await asyncio.sleep(TICK_S)


def _lock(file: Path) -> int | None:
    """The descriptor that holds the lock; none where another does. Closing it gives it back."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
