"""The number of `understand`'s instances in Triton follows its queue, so that a flood finds all cores at work.

An instance is a process of Triton's with a core of its own and about 80 MiB, so it comes only when texts have waited
for a while, and only where there is memory for it; it goes when the others could do its work. Triton keeps
answering while it changes the number. Of several workers one follows: together they would grow it too fast.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from portico.errors import PorticoError
from portico.llm.library.memory_need import available_bytes
from portico.logs import logger
from portico.settings.home import Home
from portico.storage.leases import Leases
from portico.triton.admin import ModelWork, TritonAdmin

MODEL = "understand"
POLL_S = 2.0
QUEUE_MS = 15.0
"""Texts that wait longer than this on average find too few instances: one alone waits 0.2 ms."""
GROW_AFTER, SHRINK_AFTER = 3, 30
"""Polls in a row. A minute of rest: loading costs about a second of a core."""
IDLE_SHARE = 0.6
"""An instance goes when the rest would be busy for less than this share of the time."""
SPARE_BYTES = 512 * 1024 * 1024
LEASE, LEASE_S, ASK_EVERY_S = "understand.instances", 60.0, 20.0
"""Another worker takes over within a minute."""

log = logger("instances")


@dataclass(frozen=True)
class Load:
    """Of the time between two polls. `busy`: instances at work, on average."""

    queue_ms: float
    busy: float


class Hysteresis:
    """Says how many instances there should be: one more or less at a time, after several polls that agree."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._high = self._low = 0

    def wanted(self, load: Load, now: int) -> int:
        high = load.queue_ms > QUEUE_MS and load.busy > IDLE_SHARE * now
        low = load.queue_ms <= QUEUE_MS and load.busy < IDLE_SHARE * (now - 1)
        self._high = self._high + 1 if high else 0
        self._low = self._low + 1 if low else 0
        if self._high >= GROW_AFTER and now < self._most:
            self._high = 0
            return now + 1
        if self._low >= SHRINK_AFTER and now > 1:
            self._low = 0
            return now - 1
        return now


def load_between(before: ModelWork, after: ModelWork, *, seconds: float) -> Load:
    """A model that was loaded again counts from zero: what it tells is then all there is."""
    if after.requests < before.requests:
        before = ModelWork(0, 0, 0)
    requests = after.requests - before.requests
    queued, worked = after.queue_ns - before.queue_ns, after.busy_ns - before.busy_ns
    return Load(queued / 1e6 / requests if requests else 0.0, worked / 1e9 / seconds)


class Lead:
    """Whether this worker is the one that follows, of those that share a Triton."""

    def __init__(self, leases: Leases, *, ask_every_s: float = ASK_EVERY_S, lease_s: float = LEASE_S) -> None:
        self._leases = leases
        self._holder = uuid.uuid4().hex
        self._ask_every_s = ask_every_s
        self._lease_s = lease_s
        self._asked = -ask_every_s
        self._mine = False

    async def __call__(self) -> bool:
        """Raises `Unavailable` where the database is unavailable."""
        if time.monotonic() - self._asked >= self._ask_every_s:
            self._mine = False
            self._mine = await self._leases.acquire(LEASE, self._holder, self._lease_s, time.time())
            self._asked = time.monotonic()
        return self._mine


async def follow_queue(
    home: Home,
    admin: TritonAdmin,
    *,
    most: int,
    poll_s: float = POLL_S,
    leads: Callable[[], Awaitable[bool]] | None = None,
) -> None:
    """Until it is stopped. `most` instances at most; with one there is nothing to follow.

    `leads`: whether it is this worker's turn; None where there is no other.
    """
    if most <= 1:
        return
    rule, before = Hysteresis(most), None
    while True:
        await asyncio.sleep(poll_s)
        try:
            if leads is not None and not await leads():
                before = None
                continue
            after = await admin.work(MODEL)
            if before is not None:
                load = load_between(before, after, seconds=poll_s)
                await _follow(home, admin, rule, load)
            before = after
        except PorticoError as error:
            log.warning("instances.later", why=error.message)
            before = None


async def _follow(home: Home, admin: TritonAdmin, rule: Hysteresis, load: Load) -> None:
    now = await admin.instances(MODEL)
    wanted = rule.wanted(load, now)
    if wanted > now and available_bytes() < SPARE_BYTES:
        log.warning("instances.no_memory", instances=now, queue_ms=round(load.queue_ms, 1))
        return
    if wanted == now:
        return
    config = home.models / MODEL / "config.pbtxt"
    asked_of = config.stat().st_mtime_ns
    await admin.set_instances(MODEL, wanted)
    if config.stat().st_mtime_ns != asked_of:
        # A new version came meanwhile, and what was just loaded still names the one before.
        await admin.load(MODEL)
    log.info("instances.changed", instances=wanted, before=now, queue_ms=round(load.queue_ms, 1))
