"""Warm processes of functions: one is kept idle for each room, and ended after a minute without calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from portico.tools.functions.process import FunctionProcess, Room

IDLE_S = 60.0
MOST_IDLE = 4
LOOK_EVERY_S = 5.0


class Pool:
    """At most `processes` at once. A process serves one call at a time and only calls of its room."""

    def __init__(self, *, processes: int = 8, idle_s: float = IDLE_S) -> None:
        self._places = asyncio.Semaphore(processes)
        self._idle_s = idle_s
        self._idle: dict[str, list[tuple[float, FunctionProcess]]] = {}
        self._busy: set[FunctionProcess] = set()
        self._retired: set[str] = set()
        self._ending: asyncio.Task[None] | None = None
        self._ends: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def pids(self) -> set[int]:
        """Of all processes that are there, idle ones, too."""
        idle = {process.pid for waiting in self._idle.values() for _, process in waiting}
        return idle | {process.pid for process in self._busy}

    @property
    def busy(self) -> int:
        """How many calls run."""
        return len(self._busy)

    @asynccontextmanager
    async def lease(self, room: Room) -> AsyncIterator[FunctionProcess]:
        """A process for one call; afterwards it is kept, or ended where the call left something behind."""
        async with self._places:
            process = await self._take(room.key) or await FunctionProcess.start(room)
            self._busy.add(process)
            try:
                yield process
            finally:
                self._busy.discard(process)
                if process.clean and process.alive and not self._closed and room.key not in self._retired:
                    self._keep(room.key, process)
                else:
                    await self._end(process)

    async def retire(self, key: str) -> None:
        """End the idle process of a room that is not used any more."""
        self._retired.add(key)
        for _, process in self._idle.pop(key, []):
            await self._end(process)

    def revive(self, key: str) -> None:
        """The room is asked for again: a file was changed back."""
        self._retired.discard(key)

    async def close(self) -> None:
        self._closed = True
        if self._ending is not None:
            self._ending.cancel()
        for waiting in self._idle.values():
            for _, process in waiting:
                await self._end(process)
        self._idle.clear()
        for process in tuple(self._busy):
            await self._end(process)
        await asyncio.gather(*self._ends)

    async def _end(self, process: FunctionProcess) -> None:
        """In a task of its own: broken off in the middle, something of the process would stay."""
        task = asyncio.create_task(process.end())
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)
        await asyncio.shield(task)

    async def _take(self, key: str) -> FunctionProcess | None:
        waiting = self._idle.get(key, [])
        while waiting:
            _, process = waiting.pop()
            if process.alive:
                return process
            await self._end(process)  # of one that was killed its line and its files are still there
        return None

    def _keep(self, key: str, process: FunctionProcess) -> None:
        now = asyncio.get_running_loop().time()
        self._idle.setdefault(key, []).append((now, process))
        if self._ending is None or self._ending.done():
            self._ending = asyncio.create_task(self._end_idle())

    async def _end_idle(self) -> None:
        """Runs as long as something is idle."""
        while any(self._idle.values()):
            await asyncio.sleep(min(LOOK_EVERY_S, self._idle_s / 2))
            oldest = asyncio.get_running_loop().time() - self._idle_s
            every = [(since, key, one) for key, waiting in self._idle.items() for since, one in waiting]
            every.sort(key=lambda item: item[0], reverse=True)
            seen: set[str] = set()
            for number, (since, key, process) in enumerate(every):
                surplus = key in seen or number >= MOST_IDLE
                seen.add(key)
                if since < oldest or surplus or not process.alive:
                    self._idle[key] = [one for one in self._idle.get(key, []) if one[1] is not process]
                    await self._end(process)
        self._idle.clear()
