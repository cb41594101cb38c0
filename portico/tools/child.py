"""The process of functions: loads their files and calls them, one call at a time.

It runs in the environment of its functions and knows nothing but what the worker tells it over one socket: no keys,
no variables of the worker. Its worker's end is its own end. Standard library, pydantic and `portico.tool` only.
"""

from __future__ import annotations

import ctypes
import json
import os
import queue
import resource
import signal
import socket
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from portico.tools import frames

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
OPEN_FILES = 1024
LARGEST_FILE = 1 << 30


class Line:
    """The socket to the worker. Frames leave whole, from whichever thread; a forked copy is mute."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._writing = threading.Lock()
        self._answers: dict[int, queue.SimpleQueue[tuple[frames.Message, bytes]]] = {}
        self._asked = 0
        self._mute = False
        self.todo: queue.SimpleQueue[frames.Message] = queue.SimpleQueue()
        self.on_stop: Any = lambda: None
        os.register_at_fork(after_in_child=self._fall_silent)
        threading.Thread(target=self._read, name="portico-line", daemon=True).start()

    def send(self, message: frames.Message, data: bytes = b"") -> None:
        if self._mute:
            return
        with self._writing:
            self._connection.sendall(frames.pack(message, data))

    def ask(self, what: str, data: bytes = b"", **facts: Any) -> tuple[frames.Message, bytes]:
        """Something that only the worker can do. Raises `ToolFailed` with the worker's words."""
        from portico.tool import ToolFailed

        if self._mute:
            raise ToolFailed("a forked copy of the process cannot ask for anything")
        with self._writing:
            self._asked += 1
            number = self._asked
        waiting = self._answers[number] = queue.SimpleQueue()
        self.send({"say": "ask", "id": number, "what": what, **facts}, data)
        answer, content = waiting.get()
        del self._answers[number]
        if "error" in answer:
            raise ToolFailed(str(answer["error"]))
        return answer, content

    def leave_if_forked(self) -> None:
        """A function that forked comes back twice; the copy ends here."""
        if self._mute:
            os._exit(0)

    def _fall_silent(self) -> None:
        self._mute = True
        self._connection.close()

    def _read(self) -> None:
        while True:
            text, data = frames.sizes(self._exactly(frames.HEAD.size))
            message, content = frames.unpack(self._exactly(text)), self._exactly(data)
            if message["do"] == "answer":
                waiting = self._answers.get(message["id"])
                if waiting is not None:
                    waiting.put((message, content))
            elif message["do"] == "stop":
                self.on_stop()
            else:
                self.todo.put(message)

    def _exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = self._connection.recv(min(count - len(parts), 1 << 20))
            if not part:
                os._exit(0)  # the worker is gone
            parts += part
        return bytes(parts)


class Caught:
    """Keeps whatever is raised inside `with`: a function may raise anything, and its process goes on."""

    error: BaseException | None = None

    def __enter__(self) -> Caught:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self.error = error
        return True


def limit(memory_bytes: int, processes: int) -> None:
    """Bounds that hold for this process and everything it starts."""
    _at_most(resource.RLIMIT_CORE, 0)
    _at_most(resource.RLIMIT_DATA, memory_bytes)
    _at_most(resource.RLIMIT_NOFILE, OPEN_FILES)
    _at_most(resource.RLIMIT_FSIZE, LARGEST_FILE)
    if processes:
        _at_most(resource.RLIMIT_NPROC, processes)


def _at_most(which: int, wanted: int) -> None:
    hard = resource.getrlimit(which)[1]
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(which, (value, value))


def _die_with(parent: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    """Serve the worker until it goes. The one argument says how."""
    given = json.loads(sys.argv[1])
    sys.argv = ["portico-function"]
    _die_with(given["parent"])
    limit(given["memory_bytes"], given["processes"])
    os.umask(0o077)
    line = Line(socket.socket(fileno=given["socket"]))
    from portico.tools.calls import Calls

    calls = Calls(line, Path(given["scratch"]))
    line.send({"say": "ready"})
    while True:
        message = line.todo.get()
        answer = calls.describe(message) if message["do"] == "describe" else calls.call(message)
        line.leave_if_forked()
        line.send(answer)
