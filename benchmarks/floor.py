"""The floor: what the engine itself costs, fixed for ever.

Signal-with-start into an entity workflow, 4 local activities and 1 regular one that do nothing, 1 KiB
encrypted payloads, unsandboxed, one worker, the same server in the same run. Steps that Portico adds count
against Portico.
Run `python -m benchmarks.floor --serve` for the worker, `python -m benchmarks.floor` for the load.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections import deque
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

TASK_QUEUE = "portico-floor"
PAYLOAD = "x" * 1024
LOCAL_STEPS = 4


@activity.defn(name="floor_step")
async def floor_step(given: str) -> str:
    return given


@workflow.defn(name="Floor")
class Floor:
    """An entity workflow whose turns do nothing."""

    def __init__(self) -> None:
        self._waiting: deque[str] = deque()
        self._done = 0

    @workflow.run
    async def run(self) -> None:
        while True:
            await workflow.wait_condition(lambda: bool(self._waiting))
            given = self._waiting.popleft()
            for _ in range(LOCAL_STEPS):
                await workflow.execute_local_activity(
                    floor_step, given, schedule_to_close_timeout=timedelta(seconds=3)
                )
            await workflow.execute_activity(floor_report, given, start_to_close_timeout=timedelta(seconds=10))

    @workflow.signal
    def receive(self, given: str) -> None:
        self._waiting.append(given)


@activity.defn(name="floor_report")
async def floor_report(given: str) -> str:
    """The regular activity: tells the load generator that this turn is through."""
    return await REPORT(given)


async def _nobody(given: str) -> str:
    return given


REPORT = _nobody
"""Set by the worker process: writes the turn's name to the pipe that the load generator reads."""


async def serve(client: Client) -> None:
    """The floor's worker: prints each finished turn's number on a line of stdout."""
    global REPORT

    async def report(given: str) -> str:
        os.write(1, given.partition(" ")[0].encode() + b"\n")
        return given

    REPORT = report
    async with Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[Floor],
        activities=[floor_step, floor_report],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=2_000,
    ):
        os.write(1, b"ready\n")
        await asyncio.Event().wait()


class FloorLoad:
    """Drives the floor's worker in a process of its own and times its turns."""

    def __init__(self, client: Client, home: str) -> None:
        self._client = client
        self._home = home
        self._waiting: dict[str, asyncio.Future[float]] = {}
        self._number = 0

    async def __aenter__(self) -> FloorLoad:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.floor",
            "--serve",
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PORTICO_HOME": self._home},
        )
        assert self._process.stdout is not None
        assert await self._process.stdout.readline() == b"ready\n"
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reader.cancel()
        self._process.kill()
        await self._process.wait()

    async def turn(self, conversation: str) -> float:
        """Seconds from the signal to the end of the regular activity."""
        self._number += 1
        name = f"t{self._number}"
        ended: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting[name] = ended
        started = time.perf_counter()
        await self._client.start_workflow(
            Floor.run,
            id=conversation,
            task_queue=TASK_QUEUE,
            start_signal="receive",
            start_signal_args=[f"{name} {PAYLOAD}"],
        )
        try:
            return await ended - started
        finally:
            del self._waiting[name]

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            waiting = self._waiting.get(line.decode().strip())
            if waiting is not None and not waiting.done():
                waiting.set_result(time.perf_counter())


async def connect_here() -> Client:
    """A client of the embedded stack of PORTICO_HOME, with Portico's own encryption."""
    from portico.crypto.keyring import open_keyring
    from portico.settings.connections import connect_to
    from portico.settings.home import Home
    from portico.settings.load import load_settings
    from portico.temporal.client import connect

    home = Home.from_environment()
    return await connect(connect_to(load_settings(home), home), open_keyring(home))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help="run the floor's worker")
    parser.add_argument("--turns", type=int, default=200)
    arguments = parser.parse_args()
    client = await connect_here()
    if arguments.serve:
        await serve(client)
        return
    async with FloorLoad(client, os.environ["PORTICO_HOME"]) as load:
        await load.turn("floor-warm")
        times = sorted([await load.turn("floor-warm") for _ in range(arguments.turns)])
        print(f"floor alone: p50 {times[len(times) // 2] * 1000:.1f} ms")


if __name__ == "__main__":
    asyncio.run(main())
