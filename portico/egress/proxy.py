"""The egress guard as an HTTP proxy on loopback, for processes that cannot be handed a client: tools.

Whoever is to reach something gets a grant: an address with a password of its own, good for the hosts that it
names and for as long as it is held. Names are resolved, checked and pinned here, so the other side needs no DNS
and no route. Plain requests go one a connection, everything else through CONNECT.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import ipaddress
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpcore2

from portico.egress.guard import CONNECT_TIMEOUT_S, Network, Resolve, dialer, network
from portico.egress.proxy_request import Request, UnreadableRequest, read_head
from portico.errors import Forbidden
from portico.logs import logger
from portico.settings.settings import Settings

HEAD_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 120.0
CONNECTIONS = 256
CONNECTIONS_OF_A_GRANT = 64
PIECE = 64 * 1024
USUAL_PORTS = (80, 443)
REALM = b'Proxy-Authenticate: Basic realm="portico"\r\n'
MARK = "Portico-Egress: refused\r\n"  # tells the proxy's own answers from those of a server
REASONS = {
    400: "Bad Request",
    403: "Forbidden",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    429: "Too Many Requests",
    502: "Bad Gateway",
}

log = logger("egress_proxy")


class ProxyRefused(Exception):
    """A rejected request, with the status for its client."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True)
class HostPattern:
    """`example.com`, `*.example.com` (its subdomains, not itself), `*`, each with `:port` or the usual two."""

    host: str
    port: int | None = None

    @classmethod
    def of(cls, text: str) -> HostPattern:
        match = re.fullmatch(r"(\[[0-9a-f:.]+\]|[^:\s/@]+)(?::(\d{1,5}))?", text.strip().lower())
        if match is None:
            raise Forbidden(f"{text[:80]!r} is no host, *.host or host:port")
        return cls(match[1].strip("[]").rstrip("."), int(match[2]) if match[2] else None)

    def matches(self, host: str, port: int) -> bool:
        if port not in (USUAL_PORTS if self.port is None else (self.port,)):
            return False
        if self.host == "*" or self.host == host:
            return True
        return self.host.startswith("*.") and host.endswith(self.host[1:]) and not is_address(host)


def matches_any(patterns: Iterable[HostPattern], host: str, port: int) -> bool:
    return any(pattern.matches(host, port) for pattern in patterns)


@dataclass(eq=False)
class _Grant:
    hosts: tuple[HostPattern, ...]
    connections: set[asyncio.Task[None]] = field(default_factory=set)


class EgressProxy:
    """One a process. `only`: what no grant can go beyond; None where the grants alone say it."""

    def __init__(
        self, of: Network, *, only: Iterable[str] | None = None, resolve: Resolve | None = None
    ) -> None:
        self._wire = dialer(of, resolve=resolve)
        self._only = None if only is None else tuple(HostPattern.of(host) for host in only)
        self._grants: dict[str, _Grant] = {}
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._address = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=PIECE)
        self._address = "{}:{}".format(*self._server.sockets[0].getsockname())

    async def close(self) -> None:
        """Cuts every connection."""
        self._grants.clear()
        if self._server is not None:
            self._server.close()
        await _end(self._open)

    @asynccontextmanager
    async def grant(self, hosts: Sequence[str]) -> AsyncIterator[str]:
        """The proxy's URL with a password for these hosts. Whatever is still connected at the end is cut."""
        if self._server is None:
            await self.start()
        token = secrets.token_urlsafe(24)
        granted = _Grant(tuple(HostPattern.of(host) for host in hosts))
        self._grants[token] = granted
        try:
            yield f"http://grant:{token}@{self._address}"
        finally:
            self._grants.pop(token, None)
            await _end(granted.connections)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._serve(reader, writer, task)
        except ProxyRefused as refused:
            await _refuse(writer, refused)
        except (OSError, httpcore2.NetworkError, httpcore2.TimeoutException):
            pass  # either side is gone
        except asyncio.CancelledError:
            pass  # the grant has ended; only we wait for this task
        finally:
            self._open.discard(task)
            for grant in self._grants.values():
                grant.connections.discard(task)
            writer.transport.abort() if task.cancelling() else writer.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task: asyncio.Task[None]
    ) -> None:
        if len(self._open) > CONNECTIONS:
            raise ProxyRefused(429, "too many connections")
        request = await _read(reader)
        grant = self._grant_of(request)
        if len(grant.connections) >= CONNECTIONS_OF_A_GRANT:
            raise ProxyRefused(429, "too many connections of this tool")
        grant.connections.add(task)
        upstream = await self._dial(grant, request.host, request.port)
        try:
            await _carry(request, reader, writer, upstream)
        finally:
            await upstream.aclose()

    def _grant_of(self, request: Request) -> _Grant:
        kind, _, credentials = request.authorization.partition(" ")
        try:
            _, _, token = base64.b64decode(credentials.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            token = ""
        grant = self._grants.get(token) if kind.lower() == "basic" else None
        if grant is None:
            raise ProxyRefused(407, "this needs a grant that is still held")
        return grant

    async def _dial(self, grant: _Grant, host: str, port: int) -> httpcore2.AsyncNetworkStream:
        within = self._only is None or matches_any(self._only, host, port)
        if not within or not matches_any(grant.hosts, host, port):
            log.info("egress.refused", port=port)
            raise ProxyRefused(403, f"{host}:{port} is not among the hosts that this tool may reach")
        try:
            return await self._wire.connect_tcp(host, port, CONNECT_TIMEOUT_S)
        except Forbidden as error:
            raise ProxyRefused(403, f"{host}: {error.message}") from None
        except (OSError, httpcore2.NetworkError, httpcore2.TimeoutException):
            raise ProxyRefused(502, f"{host}:{port} cannot be reached") from None


def egress_proxy(settings: Settings) -> EgressProxy:
    """The proxy of a worker. In local mode nothing is reached that the settings do not name."""
    tools = settings.tools
    only = (*tools.hosts, *tools.sites, *tools.inner_hosts)
    return EgressProxy(network(settings, allow=tools.inner_hosts), only=only if settings.local_only else None)


async def _read(reader: asyncio.StreamReader) -> Request:
    try:
        async with asyncio.timeout(HEAD_TIMEOUT_S):
            return await read_head(reader)
    except TimeoutError:
        raise ProxyRefused(408, "the head of the request did not arrive in time") from None
    except UnreadableRequest as error:
        raise ProxyRefused(400, str(error)) from None


async def _carry(
    request: Request,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    upstream: httpcore2.AsyncNetworkStream,
) -> None:
    """Bytes in both directions, until one side has said all."""
    if request.is_tunnel:
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.drain()
        await _first(_pump_up(reader, upstream), _pump_down(upstream, writer))
        return
    await upstream.write(request.head(), IDLE_TIMEOUT_S)
    sending = asyncio.ensure_future(_send_body(request, reader, upstream))
    answering = asyncio.ensure_future(_pump_down(upstream, writer))
    try:
        await asyncio.wait([sending, answering], return_when=asyncio.FIRST_COMPLETED)
        if sending.done() and sending.exception() is None:
            await answering
    finally:
        await _end([sending, answering])


async def _send_body(
    request: Request, reader: asyncio.StreamReader, upstream: httpcore2.AsyncNetworkStream
) -> None:
    """Exactly the body that was declared: what follows it is not part of this request, and goes nowhere."""
    async for piece in request.body(reader):
        await upstream.write(piece, IDLE_TIMEOUT_S)


async def _pump_up(reader: asyncio.StreamReader, upstream: httpcore2.AsyncNetworkStream) -> None:
    while piece := await asyncio.wait_for(reader.read(PIECE), IDLE_TIMEOUT_S):
        await upstream.write(piece, IDLE_TIMEOUT_S)


async def _pump_down(upstream: httpcore2.AsyncNetworkStream, writer: asyncio.StreamWriter) -> None:
    while piece := await upstream.read(PIECE, IDLE_TIMEOUT_S):
        writer.write(piece)
        await asyncio.wait_for(writer.drain(), IDLE_TIMEOUT_S)


async def _first(*work: Awaitable[None]) -> None:
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(tasks)


async def _refuse(writer: asyncio.StreamWriter, refused: ProxyRefused) -> None:
    body = f"{refused}\n".encode(errors="replace")
    head = (
        f"HTTP/1.1 {refused.status} {REASONS[refused.status]}\r\nContent-Type: text/plain; charset=utf-8\r\n"
    )
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n{MARK}"
    challenge = REALM if refused.status == 407 else b""
    writer.write(head.encode() + challenge + b"\r\n" + body)
    with contextlib.suppress(OSError, TimeoutError):  # gone already
        await asyncio.wait_for(writer.drain(), HEAD_TIMEOUT_S)


async def _end(tasks: Iterable[asyncio.Future[None]]) -> None:
    ending = [task for task in tasks if task is not asyncio.current_task()]
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


def is_address(host: str) -> bool:
    """Whether it is an address, and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
