"""Code contexts inside the sandbox: one kernel process each, one cell at a time."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Emit = Callable[[dict[str, Any]], None]
KERNEL = Path(__file__).with_name("kernel.py")
OUTPUT_LIMIT = 32 * 1024 * 1024  # of one cell; a flood ends the cell, not the sandbox
LINE_LIMIT = 30 * 1024 * 1024
INTERRUPT_AGAIN_S = 2.0
INTERRUPT_KILL_S = 4.0


class ContextLost(Exception):
    """The kernel process ended in the middle of a cell."""


class Kernel:
    """A running kernel process and its pipes."""

    def __init__(self, cwd: str, environment: dict[str, str]) -> None:
        request_in, self._requests = os.pipe()
        self._replies, reply_out = os.pipe()
        self._outputs: dict[int, tuple[str, codecs.IncrementalDecoder]] = {}
        self.on_output: Callable[[str, str], None] | None = None
        self.process = self._spawn(cwd, environment, request_in, reply_out)
        os.close(request_in)
        os.close(reply_out)
        self.lines: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._rest = bytearray()
        os.set_blocking(self._replies, False)
        asyncio.get_running_loop().add_reader(self._replies, self._read_replies)

    def _spawn(
        self, cwd: str, environment: dict[str, str], requests: int, replies: int
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, str(KERNEL), str(requests), str(replies)],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(requests, replies),
            start_new_session=True,
        )
        for pipe, name in ((process.stdout, "stdout"), (process.stderr, "stderr")):
            assert pipe is not None
            descriptor = os.dup(pipe.fileno())
            pipe.close()
            os.set_blocking(descriptor, False)
            self._outputs[descriptor] = name, codecs.getincrementaldecoder("utf-8")("replace")
            asyncio.get_running_loop().add_reader(descriptor, self._read_output, descriptor)
        return process

    def _read_output(self, descriptor: int) -> bool:
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            return False
        if not data:
            asyncio.get_running_loop().remove_reader(descriptor)
            return False
        name, decoder = self._outputs[descriptor]
        if self.on_output is not None and (text := decoder.decode(data)):
            self.on_output(name, text)
        return True

    def drain(self) -> None:
        """Hand on what the cell wrote before it said that it is done."""
        for descriptor in self._outputs:
            for _ in range(64):  # what background threads go on writing belongs to the next cell
                if not self._read_output(descriptor):
                    break

    def _read_replies(self) -> None:
        try:
            data = os.read(self._replies, 1 << 20)
        except BlockingIOError:
            return
        self._rest += data
        if not data or len(self._rest) > LINE_LIMIT:
            asyncio.get_running_loop().remove_reader(self._replies)
            self.lines.put_nowait(None)
            return
        if b"\n" not in data:
            return
        *whole, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        for line in whole:
            with contextlib.suppress(ValueError):
                self.lines.put_nowait(json.loads(line))

    def ask(self, request: dict[str, Any]) -> None:
        os.write(self._requests, json.dumps(request).encode() + b"\n")

    def interrupt(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGINT)

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for descriptor in (*self._outputs, self._replies):
            loop.remove_reader(descriptor)
            os.close(descriptor)
        os.close(self._requests)
        self.lines.put_nowait(None)


@dataclass
class Context:
    """A kernel with a name and a folder; the kernel may be replaced, the context stays."""

    id: str
    cwd: str
    kernel: Kernel
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def described(self) -> dict[str, str]:
        return {"id": self.id, "language": "python", "cwd": self.cwd}


class Contexts:
    """Every context of this sandbox. The first is the default one."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._all: dict[str, Context] = {}
        self.default = self.create("/home/user")

    def create(self, cwd: str) -> Context:
        context = Context(str(uuid.uuid4()), cwd, Kernel(cwd, self._environment))
        self._all[context.id] = context
        return context

    def all(self) -> list[Context]:
        return list(self._all.values())

    def get(self, wanted: str | None) -> Context:
        """KeyError if there is none."""
        return self._all[wanted] if wanted else self.default

    def remove(self, wanted: str) -> None:
        self._all.pop(wanted).kernel.close()
        if wanted == self.default.id:
            self.default = self.create("/home/user")

    def restart(self, wanted: str) -> None:
        context = self._all[wanted]
        context.kernel.close()
        context.kernel = Kernel(context.cwd, self._environment)

    async def execute(self, context: Context, request: dict[str, Any], emit: Emit) -> None:
        """Run one cell. Cancelling interrupts it, and replaces a kernel that will not stop."""
        async with context.turn:
            kernel = context.kernel
            try:
                await self._run(kernel, request, emit)
            except asyncio.CancelledError:
                kernel.on_output = None
                if not await _interrupted(kernel):
                    self._replace(context, kernel)
                raise
            except ContextLost as lost:
                self._replace(context, kernel)
                emit({"type": "error", "name": "ContextLost", "value": str(lost), "traceback": str(lost)})
            finally:
                kernel.on_output = None

    def _replace(self, context: Context, kernel: Kernel) -> None:
        if context.kernel is kernel and context.id in self._all:
            kernel.close()
            context.kernel = Kernel(context.cwd, self._environment)

    async def _run(self, kernel: Kernel, request: dict[str, Any], emit: Emit) -> None:
        written = 0

        def on_output(name: str, text: str) -> None:
            nonlocal written
            written += len(text)
            if written <= OUTPUT_LIMIT:
                emit({"type": name, "text": text})
            elif not flooded.done():
                flooded.set_result(None)

        flooded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        kernel.on_output = on_output
        try:
            kernel.ask(request)
        except OSError as error:
            raise ContextLost("the kernel has ended; a new one was started and its state is gone") from error
        await self._until_done(kernel, emit, flooded)

    async def _until_done(self, kernel: Kernel, emit: Emit, flooded: asyncio.Future[None]) -> None:
        while True:
            line = asyncio.ensure_future(kernel.lines.get())
            await asyncio.wait((line, flooded), return_when=asyncio.FIRST_COMPLETED)
            if not line.done():
                line.cancel()
                kernel.on_output = None
                text = f"the cell was stopped: it wrote more than {OUTPUT_LIMIT} characters"
                emit({"type": "error", "name": "OutputLimitExceeded", "value": text, "traceback": text})
                if not await _interrupted(kernel):
                    raise ContextLost("the cell did not stop; a new kernel was started and its state is gone")
                return
            event = line.result()
            if event is None:
                raise ContextLost("the kernel has ended; a new one was started and its state is gone")
            if event.get("type") == "done":
                kernel.drain()
                return
            if event.get("type") != "ready":
                emit(event)


async def _interrupted(kernel: Kernel) -> bool:
    """Whether the running cell ended after being asked to."""
    for patience in (INTERRUPT_AGAIN_S, INTERRUPT_KILL_S - INTERRUPT_AGAIN_S):
        kernel.interrupt()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while (event := await kernel.lines.get()) is not None:
                    if event.get("type") == "done":
                        return True
                return False
    return False
