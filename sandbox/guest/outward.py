"""The one way out of a sandbox that has one: a port on the guest's own loopback, whose bytes travel as frames.

The service at the other end decides what may be reached. The guest has no network, with this or without.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

PORT = 3128
WINDOW = 256 * 1024  # bytes of a connection under way, in each direction
CHUNK = 64 * 1024

Send = Callable[..., None]


class FlowWindow:
    """How much more may be sent before the other end has said that it took some."""

    def __init__(self) -> None:
        self._left = WINDOW
        self._more = asyncio.Event()

    async def take(self, size: int) -> None:
        while self._left <= 0:
            self._more.clear()
            await self._more.wait()
        self._left -= size

    def give(self, size: int) -> None:
        self._left += size
        self._more.set()


class Outward:
    """The port and its connections. `send` sends to the service; `hear` gets its messages."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._numbers = itertools.count(1)
        self._open: dict[int, tuple[asyncio.StreamWriter, FlowWindow]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, hear: Callable[[], Awaitable[tuple[dict[str, Any], bytes]]]) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", PORT)
        self._send({"listening": PORT})
        try:
            while True:
                self._heard(*await hear())
        finally:
            server.close()
            for writer, _ in self._open.values():
                writer.close()

    def _heard(self, header: dict[str, Any], body: bytes) -> None:
        writer, window = self._open.get(header["conn"], (None, None))
        if writer is None or window is None:
            return
        if "took" in header:
            window.give(header["took"])
        elif header.get("close"):
            window.give(1 << 62)  # the rest is discarded
            writer.close()
        else:
            writer.write(body)
            self._behind(self._taken(header["conn"], writer, len(body)))

    async def _taken(self, number: int, writer: asyncio.StreamWriter, size: int) -> None:
        with contextlib.suppress(OSError):
            await writer.drain()
        self._send({"conn": number, "took": size})

    def _behind(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, window = next(self._numbers), FlowWindow()
        self._open[number] = writer, window
        self._send({"conn": number, "open": True})
        try:
            while data := await reader.read(CHUNK):
                await window.take(len(data))
                self._send({"conn": number}, data)
            self._send({"conn": number, "eof": True})
            await writer.wait_closed()
        except OSError:
            pass
        finally:
            self._open.pop(number, None)
            self._send({"conn": number, "close": True})
            writer.close()
