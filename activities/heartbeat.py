"""Beats while an activity works or waits, so that a lost worker is noticed soon and a stop arrives.

The SDK holds beats back for 0.8 of the heartbeat timeout unless the worker sets
`max_heartbeat_throttle_interval`; a stop is only learned with a beat.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from temporalio import activity

BEAT_EVERY_S = 1.0


def _nothing() -> Sequence[Any]:
    return ()


@asynccontextmanager
async def beating(
    details: Callable[[], Sequence[Any]] = _nothing, *, every_s: float = BEAT_EVERY_S
) -> AsyncIterator[None]:
    """Heartbeat at once and then every `every_s` until the block ends. `details` is asked at each beat."""

    async def beat() -> None:
        while True:
            activity.heartbeat(*details())
            await asyncio.sleep(every_s)

    heart = asyncio.create_task(beat())
    try:
        yield
    finally:
        heart.cancel()  # not awaited: a stop that arrives here must not be lost with it
