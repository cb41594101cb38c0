"""What telling costs: two stacks side by side, one silent, one with metrics and a trace of every turn.

`python -m benchmarks.telemetry`. Turns alternate between the two, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
from pathlib import Path

import aiohttp
from aiohttp import web

from benchmarks.private_stack import PrivateStack
from benchmarks.telegram import BotApi, Platform
from benchmarks.turns import TEXT, WARM_UP

TELLS = """
[telemetry]
otlp_endpoint = "{collector}"
metrics_address = "127.0.0.1:{port}"
"""
OURS = ("worker", "api")


class Collector:
    """Takes every request and counts its bytes."""

    def __init__(self) -> None:
        self.requests = self.size_bytes = 0

    async def __aenter__(self) -> Collector:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        self.requests += 1
        self.size_bytes += len(await request.read())
        return web.Response(content_type="application/x-protobuf")


class Side:
    """One of the two stacks, and how long its turns took."""

    def __init__(self, stack: PrivateStack, bot: BotApi, session: aiohttp.ClientSession) -> None:
        self.stack = stack
        self.platform = Platform(session, stack.webhook, bot)
        self.times_s: list[float] = []

    def cpu_s(self) -> float:
        """Of our own processes so far."""
        return sum(_cpu_s(int(str(self.stack.parts[part]["pid"]))) for part in OURS)

    def memory_mib(self) -> float:
        return sum(_pss_mib(int(str(self.stack.parts[part]["pid"]))) for part in OURS)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _pss_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def measure(turns: int) -> None:
    async with BotApi() as bot, Collector() as collector, aiohttp.ClientSession() as session:
        told = TELLS.format(collector=collector.url, port=_free_port())
        stacks = [PrivateStack(bot.url), PrivateStack(bot.url, more=told)]
        try:
            for stack in stacks:
                await stack.start()
            silent, telling = (Side(stack, bot, session) for stack in stacks)
            await _alternate(silent, telling, WARM_UP)
            silent.times_s.clear()
            telling.times_s.clear()
            before = silent.cpu_s(), telling.cpu_s()
            await _alternate(silent, telling, turns)
            cpu_ms = [
                (side.cpu_s() - was) / turns * 1000
                for side, was in zip((silent, telling), before, strict=True)
            ]
            _print(silent, telling, cpu_ms, collector, turns)
        finally:
            for stack in stacks:
                await stack.stop()
                stack.remove()


async def _alternate(silent: Side, telling: Side, turns: int) -> None:
    """The same chat on both sides, the first to go in turn."""
    for number in range(turns):
        pair = (silent, telling) if number % 2 else (telling, silent)
        for side in pair:
            side.times_s.append(await side.platform.turn(1, TEXT))


def _print(silent: Side, telling: Side, cpu_ms: list[float], collector: Collector, turns: int) -> None:
    medians = [statistics.median(side.times_s) * 1000 for side in (silent, telling)]
    print(f"{turns} turns of each, in turn; silent / telling")
    print(
        f"message to sendMessage, median: {medians[0]:.1f} / {medians[1]:.1f} ms = {medians[1] / medians[0]:.3f} ×"
    )
    print(
        f"CPU of worker and api a turn: {cpu_ms[0]:.1f} / {cpu_ms[1]:.1f} ms = {cpu_ms[1] / cpu_ms[0]:.3f} ×"
    )
    print(f"memory of worker and api: {silent.memory_mib():.0f} / {telling.memory_mib():.0f} MiB")
    print(f"sent: {collector.requests} requests, {collector.size_bytes / (turns + WARM_UP):.0f} bytes a turn")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=300)
    asyncio.run(measure(parser.parse_args().turns))


if __name__ == "__main__":
    main()
