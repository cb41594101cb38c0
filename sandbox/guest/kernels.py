"""A kernel process inside the sandbox, of any language, and the pipes to it."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROGRAMS = {"python": "kernel.py", "javascript": "deno.py", "typescript": "deno.py", "bash": "shell.py"}
LINE_LIMIT = 30 * 1024 * 1024
INTERRUPT_AGAIN_S = 2.0
INTERRUPT_KILL_S = 4.0


class Kernel:
    """A running kernel process and its pipes."""

    def __init__(self, language: str, cwd: str, environment: dict[str, str]) -> None:
        # a shell's commands are to hear it, and ignores it itself; the others pass it on in their own way
        self._signal = os.killpg if language == "bash" else os.kill
        request_in, self._requests = os.pipe()
        self._replies, reply_out = os.pipe()
        self._outputs: dict[int, tuple[str, codecs.IncrementalDecoder]] = {}
        self.on_output: Callable[[str, str], None] | None = None
        self.process = self._spawn(PROGRAMS[language], cwd, environment, request_in, reply_out)
        os.close(request_in)
        os.close(reply_out)
        self.lines: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._rest = bytearray()
        os.set_blocking(self._replies, False)
        asyncio.get_running_loop().add_reader(self._replies, self._read_replies)

    def _spawn(
        self, program: str, cwd: str, environment: dict[str, str], requests: int, replies: int
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name(program)), str(requests), str(replies)],
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

    def renew(self) -> None:
        """Before the next cell, what makes random numbers begins again."""
        with contextlib.suppress(OSError):  # one that has ended has nothing to renew
            self.ask({"renew": os.urandom(16).hex()})

    def interrupt(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._signal(self.process.pid, signal.SIGINT)

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for descriptor in (*self._outputs, self._replies):
            loop.remove_reader(descriptor)
            os.close(descriptor)
        os.close(self._requests)
        self.lines.put_nowait(None)
