"""`make bench`: measures each figure of `targets.toml` on a stack of its own, prints asked against reached.

Ratios are taken in one run, because machines differ and drift. `--quick` measures less of each.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

import aiohttp

from benchmarks import models, resources, sandbox, tools, turns
from benchmarks.figures import Figures, table
from benchmarks.floor import FloorLoad, connect_here
from benchmarks.picture import draw
from benchmarks.private_stack import PrivateStack
from benchmarks.telegram import BotApi, Platform

PICTURE = Path(__file__).with_name("results.png")


async def measure(*, repeats: int, seconds: float, old: int) -> tuple[Figures, list[float], dict[str, float]]:
    figures = Figures()
    async with BotApi() as bot:
        stack = PrivateStack(bot.url)
        try:
            await stack.start()
            await stack.stop()
            for _ in range(repeats):
                figures.add("warm_start_s", await stack.start())
                await stack.stop()
            await stack.start()
            os.environ["PORTICO_HOME"] = str(stack.home)
            by_process = await resources.idle(stack, figures)
            curve = await _load(stack, bot, figures, repeats=repeats, seconds=seconds, old=old)
            await stack.stop()
        finally:
            stack.remove()
    return figures, curve, by_process


async def _load(
    stack: PrivateStack, bot: BotApi, figures: Figures, *, repeats: int, seconds: float, old: int
) -> list[float]:
    client = await connect_here()
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        FloorLoad(client, str(stack.home)) as floor,
    ):
        platform = Platform(session, stack.webhook, bot)
        await turns.warm_up(platform, floor)
        caller = tools.Caller(session, stack.url, stack.key)
        await tools.warm_up(caller)
        for number in range(repeats):
            print(f"run {number + 1} of {repeats} …", flush=True)
            await turns.alone(platform, floor, figures, turns=100)
            await turns.acks(platform, figures, turns=200)
            await turns.at_once(platform, floor, figures, seconds=seconds)
            await tools.alone(caller, floor, figures, calls=100)
        print(f"one conversation grows to {old} turns …", flush=True)
        return await turns.age(platform, figures, chat=7, turns=old) if old else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument(
        "--old", type=int, default=turns.OLD, help="turns of the ageing conversation; 0 leaves it out"
    )
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    repeats, seconds, old = (1, 4.0, 0) if given.quick else (given.repeats, given.seconds, given.old)
    figures, curve, by_process = asyncio.run(measure(repeats=repeats, seconds=seconds, old=old))
    print("the sentence models …", flush=True)
    models.run(figures, repeats=repeats, seconds=seconds)
    print("the sandboxes …", flush=True)
    sandbox.measure(figures, repeats=repeats)
    print(table(figures))
    for name, mib in sorted(by_process.items(), key=lambda item: -item[1]):
        print(f"  {mib:6.1f} MiB  {name}")
    if not given.quick:
        draw(figures, curve, PICTURE)
        print(f"picture: {PICTURE}")


if __name__ == "__main__":
    main()
