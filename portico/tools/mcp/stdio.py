"""Speaks with an MCP server that is a child process, over its standard input and output.

The SDK's own transport gives the child some of our environment and reads lines of any length; here it gets
none but what the settings say, has limits, and a line that does not end ends the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import mcp_types
from mcp.shared.message import SessionMessage

from portico.errors import Misconfigured
from portico.logs import logger

LONGEST_LINE = 8 * 1024 * 1024
MIB = 1024 * 1024
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STOP_WITHIN_S = 1.0
LOOK_EVERY_S = 0.02
LAST_WORDS_S = 0.2
KEPT_WORDS = 300
CHILD = Path(__file__).with_name("child.py")

log = logger("mcp")


class Child:
    """The program of a server, and how it ended."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], *, memory_mib: int, folder: Path
    ) -> None:
        self._command = command
        self._environment = environment
        self._memory_mib = memory_mib
        self._folder = folder
        self._words: deque[str] = deque(maxlen=5)
        self._status: int | None = None
        self.closed = asyncio.Event()
        """Set once it says nothing more."""

    @property
    def end(self) -> str:
        """With what words it ended by itself; empty where it did not."""
        if self._status is None:
            return ""
        said = f": {self._words[-1]}" if self._words else ""
        return f"its program ended with {self._status}{said}"

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[tuple[Any, Any]]:
        """Start it, and stop it and all that it started. Raises `Misconfigured` where there is no such program."""
        process = await self._start()
        inbox, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        write, outbox = anyio.create_memory_object_stream[SessionMessage](0)
        tasks = [
            asyncio.create_task(_read(process, inbox, self.closed)),
            asyncio.create_task(_write(process, outbox)),
            asyncio.create_task(_listen(process, self._words)),
        ]
        try:
            yield read, write
        finally:
            await asyncio.shield(asyncio.ensure_future(self._finish(process, tasks[-1])))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for stream in (inbox, read, write, outbox):
                stream.close()

    async def _finish(self, process: asyncio.subprocess.Process, listening: asyncio.Task[None]) -> None:
        if self.closed.is_set() and await _ended(process):
            await asyncio.wait({listening}, timeout=LAST_WORDS_S)
            self._status = process.returncode
        await _stop(process)

    async def _start(self) -> asyncio.subprocess.Process:
        variables = {"PATH": PATH, "HOME": str(self._folder), "LANG": "C.UTF-8", **self._environment}
        # Found as the owner would find it; what it finds itself is another matter.
        program = shutil.which(self._command[0], path=variables["PATH"]) or shutil.which(self._command[0])
        if program is None:
            raise Misconfigured(f"there is no program {self._command[0]}")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._words.clear()
        self._status = None
        self.closed.clear()
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(CHILD), str(self._memory_mib * MIB), program, *self._command[1:]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=variables,
            cwd=self._folder,
            limit=LONGEST_LINE,
            start_new_session=True,
        )


async def _read(process: asyncio.subprocess.Process, inbox: Any, closed: asyncio.Event) -> None:
    """Its messages; what is no message goes to the session as an error. The end closes the session's stream."""
    assert process.stdout is not None
    async with inbox:
        with contextlib.suppress(ValueError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while line := await process.stdout.readline():  # ValueError: a line over the limit
                if line.strip():
                    await inbox.send(_message(line))
    closed.set()


def _message(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(mcp_types.jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        log.warning("mcp.no_message", size_bytes=len(line))
        return error


async def _write(process: asyncio.subprocess.Process, outbox: Any) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError, anyio.EndOfStream, anyio.ClosedResourceError):
        async for message in outbox:
            text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
            process.stdin.write(text.encode() + b"\n")
            await process.stdin.drain()


async def _listen(process: asyncio.subprocess.Process, words: deque[str]) -> None:
    """Standard error is for people; the last lines tell why a server ended."""
    assert process.stderr is not None
    while True:
        try:
            line = await process.stderr.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            line = await process.stderr.readexactly(error.consumed)
        except asyncio.IncompleteReadError as error:
            line = error.partial
            if not line:
                return
        if text := line[: KEPT_WORDS * 4].decode(errors="replace").strip():
            words.append(text[:KEPT_WORDS])


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Its input ends, then it is asked, then it and everything that it started is killed."""
    assert process.stdin is not None
    process.stdin.close()
    if not await _ended(process):
        _signal(process, signal.SIGTERM)
        await _ended(process)
    _signal(process, signal.SIGKILL)
    if not await _ended(process):
        log.error("mcp.not_ended", pid=process.pid)
    getattr(process, "_transport").close()  # noqa: B009 - nothing public lets go of pipes that others hold


async def _ended(process: asyncio.subprocess.Process) -> bool:
    """Whether it ended in time. `process.wait()` would wait for everybody who holds its pipes."""
    for _ in range(int(STOP_WITHIN_S / LOOK_EVERY_S)):
        if process.returncode is not None:
            return True
        await asyncio.sleep(LOOK_EVERY_S)
    return process.returncode is not None


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """To the whole group, also after its first process has ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
