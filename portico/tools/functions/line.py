"""The child's end of the socket to the worker: frames out, tasks and answers in. Standard library only."""

from __future__ import annotations

import os
import queue
import socket
import threading
from types import TracebackType
from typing import Any

from portico.tools.functions import frames


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
        # Catch-all: a function may raise anything; its process goes on and answers with it.
        self.error = error
        return True
