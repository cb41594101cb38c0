"""The worker's end of a function's process: starting it, speaking to it, and ending it with all that it started."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from portico.errors import PorticoError
from portico.logs import logger
from portico.tool import ToolError, ToolFailed
from portico.tools.functions import frames
from portico.tools.functions.process_tree import kill_tree, own_tasks, processes_below, resident_bytes

CHECKOUT = Path(__file__).resolve().parents[3]
MEMORY_FOLDER = Path("/dev/shm")
PATHS = "/usr/local/bin:/usr/bin:/bin"
START_S = 30.0
WATCH_EVERY_S = 0.5
MOST_PROCESSES = 128
TASKS_MORE = 2048
"""For an ordinary user, whose processes and threads count together. Root is not bounded so, but watched."""
START = "import sys; sys.path += {paths!r}; from portico.tools.functions.child import main; main()"

Ask = Callable[[frames.Message, bytes], Awaitable[tuple[frames.Message, bytes]]]
Report = Callable[[str, float | None], None]

log = logger("tools")


class ProcessLost(ToolError):
    """The process is gone in the middle of a call. `status` is negative where a signal ended it."""

    code = "interrupted"

    def __init__(self, status: int | None) -> None:
        how = f"signal {-status}" if status is not None and status < 0 else f"exit status {status}"
        super().__init__(f"its process ended in the middle ({how})")
        self.status = status

    @property
    def by_itself(self) -> bool:
        return self.status is not None and self.status >= 0


@dataclass(frozen=True)
class Room:
    """Where a process of functions runs. `key` tells rooms apart; a changed function has another one."""

    key: str
    python: Path
    paths: tuple[str, ...] = (str(CHECKOUT),)
    memory_bytes: int = 4 << 30


class FunctionProcess:
    """One process. It serves one call at a time."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        scratch: Path,
        *,
        memory_bytes: int,
    ) -> None:
        self.clean = True
        """False once something of a call was left behind: then it is ended instead of used again."""
        self._process = process
        self._reader = reader
        self._writer = writer
        self._scratch = scratch
        self._memory_bytes = memory_bytes
        self._too_much = ""

    @classmethod
    async def start(cls, room: Room) -> FunctionProcess:
        """Call it in the main thread's event loop: a process dies with the thread that started it.

        Raises `ToolFailed` where it does not come up.
        """
        scratch = Path(tempfile.mkdtemp(prefix=f"portico-{os.getpid()}-", dir=_memory_folder()))
        ours, theirs = socket.socketpair()
        try:
            process = _spawn(room, theirs, scratch)
        except OSError as error:
            ours.close()
            shutil.rmtree(scratch, ignore_errors=True)
            raise ToolFailed(f"its process cannot be started ({error.strerror})") from None
        finally:
            theirs.close()
        # A task of its own: cancelled in between, it would leave the process without an owner.
        opening = asyncio.create_task(asyncio.open_unix_connection(sock=ours))
        try:
            await asyncio.wait({opening})
        except asyncio.CancelledError:
            await cls(process, *await opening, scratch, memory_bytes=room.memory_bytes).end()
            raise
        made = cls(process, *opening.result(), scratch, memory_bytes=room.memory_bytes)
        try:
            async with asyncio.timeout(START_S):
                await made._read()
        except (TimeoutError, ProcessLost):
            await made.end()
            raise ToolFailed("its process does not come up") from None
        except asyncio.CancelledError:
            await asyncio.shield(made.end())
            raise
        return made

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    async def describe(self, files: list[str], *, timeout_s: float) -> dict[str, frames.Message]:
        """What is declared in each file. Raises `ProcessLost` or `TimeoutError`."""
        self._write({"do": "describe", "files": files, "timeout_s": timeout_s})
        async with asyncio.timeout(timeout_s * len(files) + START_S):
            answer, _ = await self._read()
        found: dict[str, frames.Message] = answer["files"]
        return found

    async def call(self, message: frames.Message, *, ask: Ask, report: Report) -> frames.Message:
        """The answer of one call. Raises `ProcessLost`, or `ToolFailed` where it took too much of something."""
        self.clean = False
        asked: set[asyncio.Task[None]] = set()
        watching = asyncio.create_task(self._watch())
        try:
            self._write({"do": "call", **message})
            while True:
                said, data = await self._read()
                if said["say"] == "progress":
                    report(str(said["text"]), said["fraction"])
                elif said["say"] == "ask":
                    asked.add(asyncio.create_task(self._answer(said, data, ask)))
                else:
                    self.clean = bool(said.get("clean"))
                    return said
        except ProcessLost:
            if self._too_much:
                raise ToolFailed(self._too_much) from None
            raise
        finally:
            watching.cancel()
            for task in asked:
                task.cancel()

    def stop(self) -> None:
        """Ask the function that runs to stop."""
        if not self._writer.is_closing():
            self._write({"do": "stop"})

    async def end(self) -> None:
        """Kill it with everything that it started, and take its files away."""
        self._writer.transport.abort()  # closing would wait until what was written is read
        await kill_tree(self._process)
        shutil.rmtree(self._scratch, ignore_errors=True)

    async def _answer(self, said: frames.Message, data: bytes, ask: Ask) -> None:
        try:
            answer, content = await ask(said, data)
        except PorticoError as error:
            answer, content = {"error": error.message}, b""
        if not self._writer.is_closing():
            self._write({"do": "answer", "id": said["id"], **answer}, content)

    async def _watch(self) -> None:
        """Bounds that the kernel does not keep for a whole tree of processes."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            tree = processes_below(self.pid)
            if len(tree) > MOST_PROCESSES:
                self._too_much = f"it started more than {MOST_PROCESSES} processes"
            elif resident_bytes(tree) > self._memory_bytes:
                self._too_much = f"it took more than {self._memory_bytes >> 20} MiB of memory"
            if self._too_much:
                await kill_tree(self._process)
                return

    def _write(self, message: frames.Message, data: bytes = b"") -> None:
        self._writer.write(frames.pack(message, data))

    async def _read(self) -> tuple[frames.Message, bytes]:
        try:
            text, data = frames.sizes(await self._reader.readexactly(frames.HEAD.size))
            message = frames.unpack(await self._reader.readexactly(text))
            return message, await self._reader.readexactly(data)
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            await kill_tree(self._process)
            raise ProcessLost(self._process.poll()) from None


def _spawn(room: Room, line: socket.socket, scratch: Path) -> subprocess.Popen[bytes]:
    given = {
        "parent": os.getpid(),
        "socket": line.fileno(),
        "scratch": str(scratch),
        "memory_bytes": room.memory_bytes,
        "processes": 0 if os.geteuid() == 0 else own_tasks() + TASKS_MORE,
    }
    home = scratch / "home"
    home.mkdir(mode=0o700)
    return subprocess.Popen(
        (str(room.python), "-I", "-B", "-c", START.format(paths=list(room.paths)), json.dumps(given)),
        env={
            "PATH": f"{room.python.parent}:{PATHS}",
            "LANG": "C.UTF-8",
            "HOME": str(home),
            "TMPDIR": str(home),
            **_time_zone(),
        },
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(line.fileno(),),
        start_new_session=True,
    )


def _time_zone() -> dict[str, str]:
    zone = os.environ.get("TZ")  # noqa: TID251 - the machine's own zone, not a setting
    return {"TZ": zone} if zone else {}


def sweep_scratch() -> None:
    """Take away what the processes of a killed worker left."""
    for left in (_memory_folder() or Path(tempfile.gettempdir())).glob("portico-*-*"):
        maker = left.name.split("-")[1]
        if maker.isdigit() and not Path(f"/proc/{maker}").exists():
            shutil.rmtree(left, ignore_errors=True)


def _memory_folder() -> Path | None:
    return MEMORY_FOLDER if os.access(MEMORY_FOLDER, os.W_OK) else None
