"""The service's end of a sandbox's way out: an HTTP proxy that knows names, resolves each once, and connects to that.

Requests come as frames over the sandbox's own pipe. CONNECT and plain `http://` are understood; everything else, and
every host that is not allowed, is answered and closed here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from sandbox.addresses import is_public, parse_address
from sandbox.allowed import Allowed
from sandbox.guest.outward import CHUNK, PORT, WINDOW, FlowWindow
from sandbox.link import READY_S, Call, GuestError, SandboxGone
from sandbox.proxy_request import HEAD_LIMIT, OutboundRefused, OutboundRequest, read_request
from sandbox.record import Sandbox

HEAD_S = 10.0
CONNECT_S = 10.0
CONNECTIONS_LIMIT = 64
LOG = logging.getLogger("sandbox")
ADDRESS = f"http://127.0.0.1:{PORT}"
PROXIED = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
VARIABLES = {
    **dict.fromkeys(PROXIED, ADDRESS),
    "NO_PROXY": "localhost,127.0.0.1",
    "no_proxy": "localhost,127.0.0.1",
}


Resolve = Callable[[str, int], Awaitable[list[str]]]


async def resolved(host: str, port: int) -> list[str]:
    entries = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]).partition("%")[0] for entry in entries]


async def pinned(allowed: Allowed, host: str, port: int, resolve: Resolve = resolved) -> str:
    """The one address to connect to. Raises `OutboundRefused` where the host is not allowed, or not public."""
    rule = allowed.rule_for(host, port)
    if rule is None:
        raise OutboundRefused(403, f"{host}:{port} is not allowed")
    if rule.address:
        return rule.address
    try:
        async with asyncio.timeout(CONNECT_S):
            addresses = await resolve(host, port)
    except (OSError, TimeoutError, UnicodeError):
        raise OutboundRefused(502, f"{host} has no address") from None
    if not addresses or not all(is_public(parse_address(address)) for address in addresses):
        raise OutboundRefused(403, f"{host} has an address that is not public")
    return addresses[0]


class ProxyConnection:
    """One connection of the guest: its bytes, and the bytes for it."""

    def __init__(self, number: int, call: Call, allowed: Callable[[], Allowed]) -> None:
        self.number = number
        self.window = FlowWindow()
        self.reader = asyncio.StreamReader(limit=HEAD_LIMIT)
        self._call = call
        self._allowed = allowed
        self._untaken = 0

    def fed(self, body: bytes) -> bool:
        """False if the other end exceeded its window."""
        self._untaken += len(body)
        if self._untaken > 2 * WINDOW:
            return False
        self.reader.feed_data(body)
        return True

    async def _send_down(self, data: bytes) -> None:
        for start in range(0, len(data), CHUNK):
            chunk = data[start : start + CHUNK]
            await self.window.take(len(chunk))
            self._call.send({"conn": self.number}, chunk)
            await self._call.flow()

    def _took(self, size: int) -> None:
        self._untaken -= size
        self._call.send({"conn": self.number, "took": size})

    async def serve(self) -> None:
        """Until either end is done."""
        try:
            try:
                await self._answer()
            except OutboundRefused as refused:
                LOG.info("a sandbox was refused a way out: %s", refused.status)
                await self._send_down(_refusal(refused))
            self._call.send({"conn": self.number, "close": True})
        except (SandboxGone, OSError):
            pass  # it is gone

    async def _answer(self) -> None:
        try:
            async with asyncio.timeout(HEAD_S):
                request = await read_request(self.reader)
        except TimeoutError:
            raise OutboundRefused(400, "the request head did not arrive in time") from None
        self._took(request.size_bytes)
        host, port = request.host, request.port
        address = await pinned(self._allowed(), host, port)
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await asyncio.open_connection(address, port)
        except (OSError, TimeoutError):
            raise OutboundRefused(502, f"{host}:{port} does not answer") from None
        try:
            await self._carry(request, reader, writer)
        finally:
            writer.close()

    async def _carry(
        self, request: OutboundRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if request.is_tunnel:
            await self._send_down(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            writer.write(request.head)
        await self._both(reader, writer, request.length)

    async def _both(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int | None
    ) -> None:
        upward = asyncio.create_task(self._upward(writer, length))
        try:
            while data := await reader.read(CHUNK):
                await self._send_down(data)
        finally:
            upward.cancel()

    async def _upward(self, writer: asyncio.StreamWriter, length: int | None) -> None:
        """What the guest writes; of a plain request its body and nothing behind it."""
        left = length
        while left is None or left > 0:
            data = await self.reader.read(CHUNK if left is None else min(CHUNK, left))
            if not data:
                break
            left = None if left is None else left - len(data)
            writer.write(data)
            with contextlib.suppress(OSError):
                await writer.drain()
            self._took(len(data))
        if length is None and writer.can_write_eof():
            with contextlib.suppress(OSError):
                writer.write_eof()


def _refusal(refused: OutboundRefused) -> bytes:
    text = f"{refused}\n".encode()
    head = f"HTTP/1.1 {refused.status} Refused\r\nContent-Type: text/plain\r\nContent-Length: {len(text)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + text


async def serve(call: Call, allowed: Callable[[], Allowed], ready: asyncio.Event) -> None:
    """Every connection of one sandbox, for as long as it lives."""
    open_now: dict[int, tuple[ProxyConnection, asyncio.Task[None]]] = {}
    try:
        async for header, body in call:
            number = header.get("conn")
            if "listening" in header:
                ready.set()
            elif not isinstance(number, int):
                continue
            elif header.get("open") is True and number not in open_now and len(open_now) < CONNECTIONS_LIMIT:
                connection = ProxyConnection(number, call, allowed)
                open_now[number] = connection, asyncio.create_task(connection.serve())
            elif number in open_now:
                _heard(*open_now[number], header, body)
                if header.get("close"):
                    del open_now[number]
            elif header.get("open") is True:
                call.send({"conn": number, "close": True})
    except (SandboxGone, GuestError):
        pass  # with the sandbox its way out ends
    finally:
        ready.set()
        for _, task in open_now.values():
            task.cancel()


def _heard(
    connection: ProxyConnection, task: asyncio.Task[None], header: dict[str, Any], body: bytes
) -> None:
    took = header.get("took")
    if isinstance(took, int) and 0 < took <= WINDOW:
        connection.window.give(took)
    elif header.get("close"):
        task.cancel()
    elif header.get("eof"):
        connection.reader.feed_eof()
    elif body and not connection.fed(body):
        task.cancel()


async def open_way_out(sandbox: Sandbox) -> None:
    """From now on the sandbox's programs find a proxy, which asks `sandbox.allowed` each time."""
    call = sandbox.link.call("outward", env=VARIABLES)
    ready = asyncio.Event()
    task = asyncio.create_task(serve(call, lambda: sandbox.allowed, ready))
    sandbox.tasks.add(task)
    task.add_done_callback(sandbox.tasks.discard)
    async with asyncio.timeout(READY_S):
        await ready.wait()
    sandbox.env = {**VARIABLES, **sandbox.env}
    sandbox.has_way_out = True
