"""The one guard for outgoing traffic.

Every connection passes `addresses_of`: the name is resolved once, every address is checked, and the checked
address is the one that is dialled, so that a name cannot change its answer in between. Redirects are new
connections and so are checked again. What the owner of the machine configured (`allow`) is not checked.
`client` is for everything; `portico.egress.posts` is a second, cheaper client behind the same guard.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import httpcore2
import httpx2

from portico.addresses import Address, is_public, parse_address
from portico.errors import Forbidden, Misconfigured
from portico.settings.settings import Settings

Resolve = Callable[[str, int], Awaitable[list[str]]]

CONNECT_TIMEOUT_S = 5.0
KEEPALIVE_S = 50.0
PROXY_ANSWER_BYTES = 16 * 1024


# The client's own log line holds the whole URL, and a Telegram URL holds the token.
logging.getLogger("httpx2").setLevel(logging.WARNING)
logging.getLogger("httpcore2").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Network:
    """Where traffic may go beyond the public internet (`host` or `host:port`), and through which proxy."""

    allow: frozenset[str] = frozenset()
    proxy: str = ""

    def allows(self, host: str, port: int) -> bool:
        return host.lower() in self.allow or _join(host.lower(), port) in self.allow


def network(settings: Settings, *, allow: Iterable[str] = ()) -> Network:
    """`allow` takes hosts, host:port and URLs; of a URL its host and port count."""
    return Network(allow=frozenset(_host_and_port(item) for item in allow if item), proxy=settings.proxy)


def client(
    of: Network | None = None,
    *,
    timeout: httpx2.Timeout | None = None,
    resolve: Resolve | None = None,
    **options: Any,
) -> httpx2.AsyncClient:
    """A client whose every connection is checked. It reads no proxy variables and follows no redirect."""
    return httpx2.AsyncClient(
        transport=GuardedTransport(of or Network(), resolve=resolve),
        timeout=timeout or httpx2.Timeout(30.0, connect=CONNECT_TIMEOUT_S),
        trust_env=False,
        **options,
    )


class GuardedTransport(httpx2.AsyncHTTPTransport):
    """A transport that dials nothing but checked addresses. Raises `Forbidden` for the others."""

    def __init__(self, of: Network, *, resolve: Resolve | None = None, max_connections: int = 100) -> None:
        context = httpx2.create_ssl_context(trust_env=False)
        super().__init__(verify=context, trust_env=False)
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context,
            max_connections=max_connections,
            max_keepalive_connections=max_connections,
            keepalive_expiry=KEEPALIVE_S,
            network_backend=_Backend(of, resolve or resolve_name),
        )


def dialer(of: Network, *, resolve: Resolve | None = None) -> httpcore2.AsyncNetworkBackend:
    """Dials one connection at a time behind the guard, for what is not spoken through a client."""
    return _Backend(of, resolve or resolve_name)


def check_address(text: str) -> Address:
    """The address, if it is in the public internet. Raises `Forbidden`."""
    address = parse_address(text)
    if not is_public(address):
        raise Forbidden("the address is not in the public internet")
    return address


async def resolve_name(host: str, port: int) -> list[str]:
    """Addresses of a name in the order in which they should be tried."""
    entries = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))


async def addresses_of(host: str, port: int, *, of: Network, resolve: Resolve) -> list[str]:
    """The addresses that may be dialled for a host. Raises `Forbidden`, or `OSError` where there is none.

    All or none: a name that mixes public and inner addresses is up to no good.
    """
    addresses = await _resolved(host, port, resolve)
    return addresses if of.allows(host, port) else [str(check_address(address)) for address in addresses]


async def _resolved(host: str, port: int, resolve: Resolve) -> list[str]:
    try:
        return [str(ipaddress.ip_address(host.strip("[]")))]
    except ValueError:
        pass
    try:
        addresses = await resolve(host, port)
    except UnicodeError as error:
        raise OSError("the name cannot be resolved") from error
    if not addresses:
        raise OSError("the name has no address")
    return addresses


class _Backend(httpcore2.AsyncNetworkBackend):
    """Resolves, checks, dials."""

    def __init__(self, of: Network, resolve: Resolve) -> None:
        self._network = of
        self._resolve = resolve
        self._proxy = _Proxy.of(of.proxy) if of.proxy else None
        self._wire = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        allowed = self._network.allows(host, port)
        if self._proxy and not (allowed and _is_here(host)):
            # The owner's own names go to the proxy as names: where one is needed, local DNS is often wrong.
            target = host if allowed else (await self._addresses(host, port, timeout))[0]
            return await self._proxy.tunnel(self._wire, target, port, timeout)
        addresses = await self._addresses(host, port, timeout)
        return await self._dial(addresses, port, timeout, local_address, socket_options)

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore2.AsyncNetworkStream:
        raise Forbidden("sockets of this machine are not reached through the guard")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _addresses(self, host: str, port: int, limit_s: float | None) -> list[str]:
        try:
            async with asyncio.timeout(limit_s):
                return await addresses_of(host, port, of=self._network, resolve=self._resolve)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout("the name was not resolved in time") from error
        except OSError as error:
            raise httpcore2.ConnectError("the name cannot be resolved") from error

    async def _dial(
        self,
        addresses: list[str],
        port: int,
        limit_s: float | None,
        local_address: str | None,
        socket_options: Iterable[Any] | None,
    ) -> httpcore2.AsyncNetworkStream:
        for address in addresses[:-1]:
            try:
                return await self._wire.connect_tcp(address, port, limit_s, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await self._wire.connect_tcp(addresses[-1], port, limit_s, local_address, socket_options)


@dataclass(frozen=True)
class _Proxy:
    """An HTTP proxy that tunnels by CONNECT."""

    host: str
    port: int
    authorization: str

    @classmethod
    def of(cls, url: str) -> _Proxy:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise Misconfigured("proxy: only http://[user:password@]host:port is known")
        credentials = (
            f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if parts.username else ""
        )
        token = base64.b64encode(credentials.encode()).decode() if credentials else ""
        return cls(parts.hostname, parts.port or 80, token)

    async def tunnel(
        self, wire: httpcore2.AsyncNetworkBackend, host: str, port: int, limit_s: float | None
    ) -> httpcore2.AsyncNetworkStream:
        stream = await wire.connect_tcp(self.host, self.port, limit_s)
        target = _join(host, port)
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if self.authorization:
            lines.append(f"Proxy-Authorization: Basic {self.authorization}")
        try:
            await stream.write(("\r\n".join(lines) + "\r\n\r\n").encode("ascii"), limit_s)
            status = await _proxy_status(stream, limit_s)
        except (httpcore2.NetworkError, httpcore2.TimeoutException) as error:
            await stream.aclose()
            raise httpcore2.ConnectError("the proxy does not answer") from error
        if status != 200:
            await stream.aclose()
            raise httpcore2.ConnectError(f"the proxy refused the tunnel with {status}")
        return stream


async def _proxy_status(stream: httpcore2.AsyncNetworkStream, limit_s: float | None) -> int:
    answer = b""
    while b"\r\n\r\n" not in answer:
        # One byte at a time past the headers would be the tunnelled server's; it waits for us, so none come.
        more = await stream.read(4096, limit_s)
        if not more or len(answer) > PROXY_ANSWER_BYTES:
            return 0
        answer += more
    words = answer.split(b"\r\n", 1)[0].split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _host_and_port(item: str) -> str:
    """`host` or `host:port` of a URL, or the item itself."""
    if "://" not in item:
        return item.lower()
    parts = urlsplit(item)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    return _join((parts.hostname or "").lower(), port)


def _join(host: str, port: int) -> str:
    host = host.strip("[]")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
