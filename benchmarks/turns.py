"""Turns through the whole gateway, beside the floor in the same run: alone, 20 and 200 at once, with age."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

from benchmarks.figures import Figures, percentile_ms
from benchmarks.floor import FloorLoad
from benchmarks.telegram import SECRET, Platform

TEXT = "hello"
WARM_UP = 30
ANSWER_TIMEOUT_S = 60.0
YOUNG, OLD, WINDOW = 50, 5_000, 100


async def warm_up(platform: Platform, floor: FloorLoad) -> None:
    for number in range(WARM_UP):
        await platform.turn(1, TEXT)
        await floor.turn("floor-1")
        await platform.turn(1000 + number % 20, TEXT)
        await floor.turn(f"floor-{1000 + number % 20}")


async def alone(platform: Platform, floor: FloorLoad, figures: Figures, *, turns: int) -> None:
    """One at a time, floor and Portico in turn, so that a drift of the machine meets both."""
    floor_s, portico_s = [], []
    for _ in range(turns):
        floor_s.append(await floor.turn("floor-1"))
        portico_s.append(await platform.turn(1, TEXT))
    floor_p50, portico_p50 = percentile_ms(floor_s, 0.5), percentile_ms(portico_s, 0.5)
    figures.add("alone_p50_ms", portico_p50)
    figures.add("alone_ratio", portico_p50 / floor_p50)


async def at_once(platform: Platform, floor: FloorLoad, figures: Figures, *, seconds: float) -> None:
    """20 chats, then 200, against the floor's 20."""
    floor_rate, _, _ = await turns_per_s(lambda chat: floor.turn(f"floor-{chat}"), chats=20, seconds=seconds)
    rate, _, _ = await turns_per_s(lambda chat: platform.turn(chat, TEXT), chats=20, seconds=seconds)
    figures.add("twenty_per_s", rate)
    figures.add("twenty_ratio", rate / floor_rate)
    many, times, lost = await turns_per_s(
        lambda chat: platform.turn(chat, TEXT), chats=200, seconds=seconds * 2
    )
    figures.add("two_hundred_ratio", many / rate)
    figures.add("two_hundred_lost", lost)
    figures.add("two_hundred_p99_ms", percentile_ms(times, 0.99))


async def acks(platform: Platform, figures: Figures, *, turns: int) -> None:
    """Acks while one message at a time passes, and forged requests."""
    platform.acks_s.clear()
    for _ in range(turns):
        await platform.turn(2, TEXT)
    figures.add("ack_p50_ms", percentile_ms(platform.acks_s, 0.5))
    figures.add("ack_p99_ms", percentile_ms(platform.acks_s, 0.99))
    forged = []
    for _ in range(turns):
        started = time.perf_counter()
        assert await platform.post(platform.update(2, TEXT), SECRET + "x") == 401
        forged.append(time.perf_counter() - started)
    figures.add("forged_p50_ms", percentile_ms(forged, 0.5))


async def age(platform: Platform, figures: Figures, *, chat: int, turns: int = OLD) -> list[float]:
    """One conversation grows old; the curve of its turns. Windows around turn 50 and turn 5,000 are compared."""
    times = [
        await asyncio.wait_for(platform.turn(chat, TEXT), ANSWER_TIMEOUT_S) for _ in range(turns + WINDOW)
    ]
    young = statistics.median(times[YOUNG : YOUNG + WINDOW])
    old = statistics.median(times[turns : turns + WINDOW])
    figures.add("age_ratio", old / young)
    return times


async def turns_per_s(
    turn: Callable[[int], Awaitable[float]], *, chats: int, seconds: float
) -> tuple[float, list[float], int]:
    """Turns a second, their times, and how many never ended."""
    times: list[float] = []
    lost = 0
    stop = time.perf_counter() + seconds

    async def talk(chat: int) -> None:
        nonlocal lost
        while time.perf_counter() < stop:
            try:
                times.append(await asyncio.wait_for(turn(chat), ANSWER_TIMEOUT_S))
            except TimeoutError:
                lost += 1

    started = time.perf_counter()
    await asyncio.gather(*(talk(1000 + number) for number in range(chats)))
    return len(times) / (time.perf_counter() - started), times, lost
