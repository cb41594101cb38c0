"""A tool by REST, from the request to its result, beside the floor in the same run: `python -m benchmarks.tools`."""

from __future__ import annotations

import argparse
import asyncio
import os
import time

import aiohttp

from benchmarks.figures import Figures, percentile_ms, table
from benchmarks.floor import FloorLoad, connect_here
from benchmarks.private_stack import PrivateStack

WARM_UP = 20


class Caller:
    """Calls one tool as the owner, waiting for the result."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        self._session = session
        self._url = f"{url}/v1/tools/calculator/invocations?wait_s=30"
        self._headers = {"Authorization": f"Bearer {key}"}

    async def call(self) -> float:
        """Seconds until the result is read."""
        body = {"parameters": {"expression": "17*23"}}
        started = time.perf_counter()
        async with self._session.post(self._url, json=body, headers=self._headers) as answer:
            result = await answer.json()
        assert result["status"] == "succeeded", result
        return time.perf_counter() - started


async def warm_up(caller: Caller) -> None:
    for _ in range(WARM_UP):
        await caller.call()


async def alone(caller: Caller, floor: FloorLoad, figures: Figures, *, calls: int) -> None:
    """One at a time, floor and tool in turn, so that a drift of the machine meets both."""
    floor_s, tool_s = [], []
    for _ in range(calls):
        floor_s.append(await floor.turn("floor-tools"))
        tool_s.append(await caller.call())
    floor_p50, tool_p50 = percentile_ms(floor_s, 0.5), percentile_ms(tool_s, 0.5)
    figures.add("tool_p50_ms", tool_p50)
    figures.add("tool_ratio", tool_p50 / floor_p50)


async def measure(stack: PrivateStack, figures: Figures, *, repeats: int, calls: int) -> None:
    """On a stack that runs, whose home is `PORTICO_HOME`."""
    client = await connect_here()
    async with aiohttp.ClientSession() as session, FloorLoad(client, str(stack.home)) as floor:
        caller = Caller(session, stack.url, stack.key)
        await warm_up(caller)
        for _ in range(WARM_UP):
            await floor.turn("floor-tools")
        for _ in range(repeats):
            await alone(caller, floor, figures, calls=calls)


async def run(*, repeats: int, calls: int) -> Figures:
    figures = Figures()
    stack = PrivateStack("http://127.0.0.1:9")
    try:
        await stack.start()
        os.environ["PORTICO_HOME"] = str(stack.home)
        await measure(stack, figures, repeats=repeats, calls=calls)
        await stack.stop()
    finally:
        stack.remove()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--calls", type=int, default=100)
    given = parser.parse_args()
    figures = asyncio.run(run(repeats=given.repeats, calls=given.calls))
    print("\n".join(line for line in table(figures).splitlines() if "not measured" not in line))


if __name__ == "__main__":
    main()
