"""POST requests for what is sent with every turn: aiohttp behind the guard of `portico.egress.guard`.

A request costs a quarter of the CPU time that it costs with the client there. It refuses the same addresses
and raises the same errors, so that callers need not know which client they have: `httpx2.ConnectError` and
`httpx2.ConnectTimeout` where nothing was written, other errors of httpx2 where something may have been.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import aiohttp
import httpx2
from aiohttp.abc import AbstractResolver, ResolveResult

from portico.egress import guard
from portico.egress.guard import KEEPALIVE_S, Network, Resolve

MAX_CONNECTIONS = 100

_NEVER_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)


@dataclass(frozen=True)
class PostResponse:
    status: int
    headers: Mapping[str, str]
    content: bytes


class Poster:
    """Posts, and nothing else. It reads no proxy variables, follows no redirect and keeps no cookies."""

    def __init__(
        self,
        of: Network,
        *,
        timeout: httpx2.Timeout,
        resolve: Resolve | None = None,
        keepalive_s: float = KEEPALIVE_S,
    ) -> None:
        self._timeout = timeout
        # aiohttp would hand names to a proxy unchecked; the other client knows how to tunnel to addresses.
        self._tunnelled = guard.client(of, timeout=timeout, resolve=resolve) if of.proxy else None
        self._session = None if of.proxy else session(of, resolve=resolve, keepalive_s=keepalive_s)

    async def post(
        self, url: str, *, content: bytes, headers: Mapping[str, str], limits: httpx2.Timeout | None = None
    ) -> PostResponse:
        limits = limits or self._timeout
        if self._session is None:
            return await self._post_tunnelled(url, content, headers, limits)
        failed: httpx2.HTTPError
        try:
            async with self._session.post(
                url, data=content, headers=headers, timeout=_limits(limits), allow_redirects=False
            ) as answer:
                return PostResponse(answer.status, answer.headers, await answer.read())
        except (aiohttp.ClientError, OSError) as error:
            failed = _translated(error)
        # Outside of the handler, because aiohttp's messages hold whole URLs and a Telegram URL holds the token.
        raise failed

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
        if self._tunnelled is not None:
            await self._tunnelled.aclose()

    async def _post_tunnelled(
        self, url: str, content: bytes, headers: Mapping[str, str], limits: httpx2.Timeout
    ) -> PostResponse:
        assert self._tunnelled is not None
        answer = await self._tunnelled.post(url, content=content, headers=dict(headers), timeout=limits)
        return PostResponse(answer.status_code, answer.headers, answer.content)


def session(
    of: Network, *, resolve: Resolve | None = None, keepalive_s: float = KEEPALIVE_S
) -> aiohttp.ClientSession:
    """A session whose every connection is checked, also those of redirects. Raises `Forbidden` for others.

    It goes through no proxy. To be made and closed within a running event loop.
    """
    context = httpx2.create_ssl_context(trust_env=False)
    context.set_alpn_protocols(["http/1.1"])
    pinned = _Guard(of, resolve or guard.resolve_name)
    connector = aiohttp.TCPConnector(
        resolver=pinned,
        socket_factory=pinned.open,
        use_dns_cache=False,
        happy_eyeballs_delay=None,
        ssl=context,
        limit=MAX_CONNECTIONS,
        keepalive_timeout=keepalive_s,
    )
    return aiohttp.ClientSession(
        connector=connector,
        request_class=_Request,
        middlewares=(_asking,),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


@dataclass
class _PostRequest:
    """The place that the request in hand is for, and whether a connection was opened for it."""

    host: str
    port: int
    opened: bool = False


_current_post: ContextVar[_PostRequest | None] = ContextVar("current_post", default=None)


class _Guard(AbstractResolver):
    """What aiohttp asks before it dials: for the addresses of a name, and for a socket to an address."""

    def __init__(self, of: Network, resolve: Resolve) -> None:
        self._network = of
        self._resolve = resolve

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        addresses = await guard.addresses_of(host, port, of=self._network, resolve=self._resolve)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is kept."""

    def open(self, place: Any) -> socket.socket:
        """A socket for the very address that is dialled, literals in URLs included: they are not resolved."""
        family, kind, proto, _, address = place
        post = _current_post.get()
        if post is None or not self._network.allows(post.host, post.port):
            guard.check_address(str(address[0]))
        if post is not None:
            post.opened = True
        return socket.socket(family, kind, proto)


class _Stale(aiohttp.ClientConnectionError):
    """A kept connection that its server has closed. Nothing of the request was written."""


class _Request(aiohttp.ClientRequest):
    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        post = _current_post.get()
        if post is not None and not post.opened and _has_ended(conn.transport):
            raise _Stale
        return await super().send(conn)


async def _asking(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Says for whom a connection is opened, and takes the next one where a kept one turns out to be closed."""
    token = _current_post.set(_PostRequest(request.url.raw_host or "", request.url.port or 0))
    try:
        while True:
            try:
                return await send(request)
            except _Stale:
                continue
    finally:
        _current_post.reset(token)


def _has_ended(transport: asyncio.BaseTransport | None) -> bool:
    """Whether there is something to read: before a request that can only be the end of the connection.

    The event loop learns of it a turn later, and what is written until then is lost, perhaps.
    """
    wire = transport.get_extra_info("socket") if transport is not None else None
    if wire is None or wire.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(wire.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _limits(timeout: httpx2.Timeout) -> aiohttp.ClientTimeout:
    """A time for the whole stands for the one for writing, which aiohttp does not have."""
    connect = None if timeout.connect is None else timeout.connect + (timeout.pool or 0)
    parts = (connect, timeout.write, timeout.read)
    return aiohttp.ClientTimeout(
        total=None if None in parts else sum(part or 0 for part in parts),
        connect=connect,
        sock_connect=timeout.connect,
        sock_read=timeout.read,
    )


def _translated(error: Exception) -> httpx2.HTTPError:
    """Only what is known to come before the first byte counts as such; all the rest may have been written."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return httpx2.ConnectTimeout("not connected in time")
    if isinstance(error, _NEVER_CONNECTED):
        return httpx2.ConnectError("not connected")
    if isinstance(error, TimeoutError):
        return httpx2.ReadTimeout("not answered in time")
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return httpx2.RemoteProtocolError("disconnected without an answer")
    return httpx2.ReadError("the connection was lost")
