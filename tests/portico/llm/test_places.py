"""Places are shared by processes, kept in order, bounded, and free again when their holder is killed."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from portico.errors import Busy
from portico.llm.places import RoutePlaces

HOLD = """
import asyncio, sys
from pathlib import Path
from portico.llm.places import RoutePlaces

async def hold():
    places = RoutePlaces(Path(sys.argv[1]), "main", places=1, queue=0)
    async with places.place():
        print("held", flush=True)
        await asyncio.sleep(60)

asyncio.run(hold())
"""
TAKE = """
import asyncio, sys
from pathlib import Path
from portico.llm.places import RoutePlaces

async def take(places, log):
    async with places.place():
        with log.open("a") as file:
            file.write(sys.argv[2])
        await asyncio.sleep(0.01)

async def main():
    places = RoutePlaces(Path(sys.argv[1]), "main", places=1, queue=100)
    takers = [asyncio.create_task(take(places, Path(sys.argv[3]))) for _ in range(20)]
    while places.waiting < 20:
        await asyncio.sleep(0.01)
    print("in line", flush=True)
    await asyncio.gather(*takers)

asyncio.run(main())
"""


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., RoutePlaces]:
    def places(route: str = "main", *, places: int = 1, queue: int = 10) -> RoutePlaces:
        return RoutePlaces(tmp_path, route, places=places, queue=queue)

    return places


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - a state of another object
            await asyncio.sleep(0.005)


async def test_no_more_hold_a_place_than_there_are(make: Callable[..., RoutePlaces]) -> None:
    at_once, most = 0, 0

    async def answer(places: RoutePlaces) -> None:
        nonlocal at_once, most
        async with places.place():
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.01)
            at_once -= 1

    # Two objects, as two processes have.
    one, other = make(places=2), make(places=2)
    await asyncio.gather(*(answer(each) for each in (one, other) for _ in range(6)))
    assert most == 2
    assert (one.held, one.waiting, other.held, other.waiting) == (0, 0, 0, 0)


async def test_who_waits_is_served_in_order(make: Callable[..., RoutePlaces]) -> None:
    places, order = make(), []

    async def answer(number: int) -> None:
        async with places.place():
            order.append(number)

    async with places.place():
        waiting = []
        for number in range(5):
            waiting.append(asyncio.create_task(answer(number)))
            await until(lambda number=number: places.waiting == number + 1)  # type: ignore[misc]
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2, 3, 4]


async def test_a_full_line_sends_away_at_once(make: Callable[..., RoutePlaces]) -> None:
    places = make(queue=1)
    async with places.place():
        waiting = asyncio.create_task(places.place().__aenter__())
        await until(lambda: places.waiting == 1)
        with pytest.raises(Busy) as raised:
            async with places.place():
                pass
        assert raised.value.retry_after_s
        assert raised.value.retryable
        waiting.cancel()


async def test_a_wait_has_an_end(make: Callable[..., RoutePlaces]) -> None:
    places = make()
    async with places.place():
        with pytest.raises(Busy, match=r"0\.1 s"):
            async with places.place(wait_s=0.1):
                pass
    async with places.place(wait_s=0.1):
        assert places.held == 1


async def test_who_gives_up_waiting_leaves_the_line(make: Callable[..., RoutePlaces]) -> None:
    places = make()
    async with places.place():
        waiting = [asyncio.create_task(places.place().__aenter__()) for _ in range(3)]
        await until(lambda: places.waiting == 3)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert places.waiting == 0
    async with places.place(wait_s=1):
        pass


async def test_routes_do_not_share_places(make: Callable[..., RoutePlaces]) -> None:
    async with make("main").place(), make("a/b: \N{SNOWMAN}").place(wait_s=0.1):
        pass


async def started(script: str, *arguments: str) -> asyncio.subprocess.Process:
    """A process that has said its first line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline()
    return process


async def test_a_killed_holder_leaves_its_place_free(
    make: Callable[..., RoutePlaces], tmp_path: Path
) -> None:
    holder = await started(HOLD, str(tmp_path))
    with pytest.raises(Busy):
        async with make().place(wait_s=0.05):
            pass
    holder.kill()
    await holder.communicate()
    async with make().place(wait_s=1):
        pass


async def test_neither_of_two_processes_is_starved(tmp_path: Path) -> None:
    locks, log = tmp_path / "locks", tmp_path / "log"
    async with RoutePlaces(locks, "main", places=1, queue=0).place():
        processes = [await started(TAKE, str(locks), letter, str(log)) for letter in "ab"]
    for process in processes:
        await process.communicate()
        assert process.returncode == 0
    served = log.read_text()
    assert sorted(served) == sorted("a" * 20 + "b" * 20)
    # While both wait, the place goes from one to the other.
    longest = max(len(run.group()) for run in re.finditer(r"a+|b+", served[:30]))
    assert longest <= 4, served
