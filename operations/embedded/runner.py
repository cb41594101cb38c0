"""One part of the running stack: started, probed until ready, watched, restarted with backoff, stopped."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from operations.embedded.context import StackContext
from operations.embedded.parts import Part
from operations.embedded.process import members, signal_session, spawn
from operations.setup.binaries import CHECKOUT
from portico.errors import PorticoError
from portico.processes import ProcessIdentity

Report = Callable[[str, str], None]  # name of the part, what happened

PROBE_EVERY_S = 0.05
FIRST_RETRY_S = 0.1
LONGEST_RETRY_S = 30.0
FIRST_LATE_RETRY_S = 15.0
LONGEST_LATE_RETRY_S = 600.0
STEADY_S = 60.0  # up for so long: the next death is a new story
START_TRIES = 3
LOG_BYTES = 10 * 1024 * 1024
TAIL_LINES = 12


class NotUp(PorticoError):
    """A part did not come up, or not this time."""

    code = "not_up"
    retryable = True


class Unfit(PorticoError):
    """A process reported what a person has to fix; a restart would fail the same way."""

    code = "unfit"


class Runner:
    """Starts one part and keeps it running until it is stopped."""

    def __init__(self, part: Part, context: StackContext, report: Report) -> None:
        self.part = part
        self.log = context.home.logs / f"{part.name}.log"
        self.up = asyncio.Event()
        self._context = context
        self._report = report
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises `NotUp` with its last lines where it is not."""
        began = time.monotonic()
        for attempt in range(1, START_TRIES + 1):
            try:
                await self._start_once()
            except Unfit:
                await self.stop()
                raise
            except PorticoError as error:
                await self.stop()
                if attempt == START_TRIES or not error.retryable:
                    raise NotUp(f"{self.part.name} did not come up: {error}{self._tail()}") from error
            else:
                break
        address = self._context.address(self.part.addresses[0]) if self.part.addresses else ""
        self._report(self.part.name, f"ready in {time.monotonic() - began:.1f} s  {address}".rstrip())

    async def keep(self) -> None:
        """Wait for its death and start it again, for ever."""
        delay = FIRST_RETRY_S
        while True:
            since = time.monotonic()
            code = await self._ended()
            self.up.clear()
            delay = FIRST_RETRY_S if time.monotonic() - since > STEADY_S else delay
            self._report(self.part.name, f"ended ({_reason(code)}); starting it again, log: {self.log}")
            delay = await self._restart(delay)

    async def keep_late(self, note: Callable[[str], None], reason: Callable[[list[str]], str]) -> None:
        """Start what the rest can do without, for ever; `note` learns why it is not there, or that it is.

        Unlike `start` this never gives up and raises nothing: a machine may be mended while the stack runs.
        """
        delay = FIRST_LATE_RETRY_S
        said = ""
        while True:
            began = time.monotonic()
            try:
                await self._start_once()
            except PorticoError as error:
                why = reason(tail(self.log, TAIL_LINES)) if isinstance(error, NotUp) else str(error)
                await self.stop()
                note(why)
                if why != said:
                    self._report(self.part.name, f"cannot be used: {why}")
                said, delay = why, min(delay * 2, LONGEST_LATE_RETRY_S)
                await asyncio.sleep(delay)
                continue
            took, address = time.monotonic() - began, self._context.address(self.part.addresses[0])
            self._report(self.part.name, f"ready in {took:.1f} s  {address}")
            note("")
            code = await self._ended()
            note(f"{self.part.name} ended and is being started again")
            self._report(self.part.name, f"ended ({_reason(code)}); starting it again, log: {self.log}")
            said, delay = "", FIRST_LATE_RETRY_S
            await self.stop()
            await asyncio.sleep(FIRST_RETRY_S)

    async def _restart(self, delay: float) -> float:
        while True:
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_RETRY_S)
            began = time.monotonic()
            try:
                await self.stop()
                await self._start_once()
            except PorticoError as error:
                self._report(self.part.name, f"{error}; trying again in {delay:.1f} s, log: {self.log}")
            else:
                self._report(self.part.name, f"ready again in {time.monotonic() - began:.1f} s")
                return delay

    async def stop(self) -> None:
        """End it and every process of its session; harmless when it does not run."""
        self.up.clear()
        if self._process is None:
            return
        session = self._process.pid
        if self._process.poll() is None:
            self._process.terminate()
            await self._gone(session, self.part.stop_timeout_s)
        if members(session):
            signal_session(session, signal.SIGKILL)
            await self._gone(session, self.part.stop_timeout_s)
        self._process.wait()
        self._process = None
        self._context.registry.set_running(self.part.name, self.part.addresses, None)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            signal_session(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def limit_log(self, limit_bytes: int = LOG_BYTES) -> None:
        """Move a log that has grown too large aside; the part goes on writing to the emptied file."""
        if self.log.exists() and self.log.stat().st_size > limit_bytes:
            shutil.copyfile(self.log, self.log.with_suffix(".log.1"))
            os.truncate(self.log, 0)

    async def _start_once(self) -> None:
        self.limit_log()
        if self.part.before:
            await self._prepare(self.part.before(self._context))
        self._process = self._spawn(
            self.part.command(self._context), self.part.environment(self._context), cwd=self._context.home.run
        )
        self._context.registry.set_running(
            self.part.name, self.part.addresses, ProcessIdentity.of(self._process.pid)
        )
        await self._until_ready(self._process)
        await self.part.after(self._context)
        self.up.set()

    async def _prepare(self, command: tuple[str, ...]) -> None:
        environment = self.part.before_environment(self._context)
        self._process = self._spawn(command, environment, cwd=CHECKOUT)
        code = await self._ended()
        self._process = None
        if code != 0:
            raise NotUp(f"its preparation failed ({_reason(code)})")

    def _spawn(
        self, command: tuple[str, ...], environment: Mapping[str, str], *, cwd: Path
    ) -> subprocess.Popen[bytes]:
        try:
            return spawn(command, environment=environment, log=self.log, cwd=cwd)
        except OSError as error:
            raise NotUp(f"{command[0]} cannot be started: {error.strerror}") from error

    async def _until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self.part.ready_timeout_s
        while not await self.part.ready(self._context, process.pid):
            code = process.poll()
            if code == os.EX_CONFIG and self.part.needs:
                raise Unfit(self._last_words())
            if code is not None:
                raise NotUp(f"it ended at its start ({_reason(code)})")
            if time.monotonic() > deadline:
                raise NotUp(f"not ready after {self.part.ready_timeout_s:.0f} s")
            await asyncio.sleep(PROBE_EVERY_S)

    async def _ended(self) -> int:
        """Wait for the process without a thread and without polling."""
        process = self._process
        if process is None:
            raise LookupError(f"{self.part.name} was not started")
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        descriptor = os.pidfd_open(process.pid)
        loop.add_reader(descriptor, over.set)
        try:
            await over.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        return process.wait()

    async def _gone(self, session: int, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while members(session) and time.monotonic() < deadline:  # noqa: ASYNC110 - not our children, all of them
            await asyncio.sleep(PROBE_EVERY_S)

    def _last_words(self) -> str:
        """What the process said of its own end."""
        return "\n".join(tail(self.log, TAIL_LINES)).rpartition(f"portico {self.part.name}: ")[2]

    def _tail(self) -> str:
        lines = tail(self.log, TAIL_LINES)
        shown = "".join(f"\n    {line}" for line in lines)
        return f"{shown}\n  whole log: {self.log}" if lines else f"; log: {self.log}"


def tail(log: Path, count: int) -> list[str]:
    try:
        with log.open(errors="replace") as file:
            return [line.rstrip() for line in deque(file, maxlen=count)]
    except FileNotFoundError:
        return []


def _reason(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
