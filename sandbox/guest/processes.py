"""Commands inside the sandbox: started, fed, signaled and reaped here; the agent is the guest's process 1."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Emit = Callable[[dict[str, Any], bytes], None]
SIGNALS = {"SIGNAL_SIGKILL": signal.SIGKILL, "SIGNAL_SIGTERM": signal.SIGTERM}


@dataclass
class GuestCommand:
    """One started command. `outputs` are the descriptors still open, by what they carry."""

    popen: subprocess.Popen[bytes]
    emit: Emit
    outputs: dict[int, str]
    stdin: int | None
    terminal: bool
    ended: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def read(self, descriptor: int) -> bool:
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            return False
        except OSError:  # a terminal whose other side is closed
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(descriptor)
            self.outputs.pop(descriptor, None)
            if descriptor != self.stdin:
                os.close(descriptor)
            return False
        self.emit({"stream": self.outputs[descriptor]}, data)
        return True


class Processes:
    """Every command of this sandbox that still runs."""

    def __init__(self) -> None:
        self._all: dict[int, GuestCommand] = {}
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    def start(self, request: dict[str, Any], emit: Emit) -> GuestCommand:
        """OSError says why it could not start."""
        terminal = request.get("pty")
        command = _in_terminal(request, emit, terminal) if terminal else _with_pipes(request, emit)
        self._all[command.popen.pid] = command
        loop = asyncio.get_running_loop()
        for descriptor in command.outputs:
            os.set_blocking(descriptor, False)
            loop.add_reader(descriptor, command.read, descriptor)
        return command

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            command = self._all.get(pid)
            if command is not None and not command.ended.done():
                command.popen.returncode = os.waitstatus_to_exitcode(status)
                command.ended.set_result(command.popen.returncode)

    async def finish(self, command: GuestCommand) -> int:
        """Wait for the end and hand on what is left to read. Negative: the signal that ended it."""
        status = await command.ended
        for descriptor in list(command.outputs):
            for _ in range(64):
                if not command.read(descriptor):
                    break
        for descriptor in list(command.outputs):  # a child that outlives it holds them: no listener is left
            asyncio.get_running_loop().remove_reader(descriptor)
            command.outputs.pop(descriptor)
            if descriptor != command.stdin:
                os.close(descriptor)
        self.close_stdin(command.popen.pid)
        self._all.pop(command.popen.pid, None)
        return status

    async def feed(self, pid: int, data: bytes) -> None:
        command = self._all[pid]
        if command.stdin is None:
            raise OSError("its standard input is closed")
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(command.stdin, view) :]
            except BlockingIOError:
                await asyncio.sleep(0.01)  # the command reads slowly; its own stream waits, no other

    def close_stdin(self, pid: int) -> None:
        command = self._all[pid]
        if command.stdin is not None:
            with contextlib.suppress(OSError):
                os.close(command.stdin)
            command.stdin = None

    def signal(self, pid: int, name: str) -> None:
        """The whole group, so that a shell's children go with it. KeyError if it has ended."""
        command = self._all[pid]
        os.killpg(command.popen.pid, SIGNALS[name])

    def resize(self, pid: int, columns: int, rows: int) -> None:
        command = self._all[pid]
        if command.terminal and command.stdin is not None:
            fcntl.ioctl(command.stdin, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _with_pipes(request: dict[str, Any], emit: Emit) -> GuestCommand:
    popen = subprocess.Popen(
        request["argv"],
        cwd=request["cwd"],
        env=request["env"],
        stdin=subprocess.PIPE if request["stdin"] else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert popen.stdout is not None and popen.stderr is not None
    outputs = {}
    for pipe, name in ((popen.stdout, "stdout"), (popen.stderr, "stderr")):
        outputs[os.dup(pipe.fileno())] = name
        pipe.close()
    stdin = None
    if popen.stdin is not None:
        stdin = os.dup(popen.stdin.fileno())
        popen.stdin.close()
        os.set_blocking(stdin, False)
    return GuestCommand(popen, emit, outputs, stdin, terminal=False)


def _in_terminal(request: dict[str, Any], emit: Emit, size: dict[str, int]) -> GuestCommand:
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", size["rows"], size["cols"], 0, 0))
    try:
        popen = subprocess.Popen(
            request["argv"],
            cwd=request["cwd"],
            env={"TERM": "xterm-256color", **request["env"]},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return GuestCommand(popen, emit, {ours: "pty"}, ours, terminal=True)
