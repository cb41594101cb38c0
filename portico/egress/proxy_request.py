"""Parses one request to the egress proxy with h11, strictly: ambiguous requests are refused.

h11 repairs what RFC 9112 lets a recipient repair (bare LF, folded lines, equal content-lengths). A proxy must not,
since the server behind it may repair differently, so `_check_lines` refuses these before h11 parses them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import h11

HEAD_BYTES = 32 * 1024
PIECE = 64 * 1024
CHUNK_LINE_BYTES = 64
CONTENT_LENGTH_DIGITS = 15
METHOD = re.compile(r"[A-Z]{1,20}")
CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
ADDRESS_6 = re.compile(r"\[([0-9a-f:.]{2,45})\]")
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
        b"host",
    }
)
FRAMING = frozenset({b"content-length", b"transfer-encoding"})

Headers = tuple[tuple[bytes, bytes], ...]


class UnreadableRequest(Exception):
    """The request is malformed or ambiguous."""


@dataclass(frozen=True)
class Request:
    """One parsed request. `head` and `body` re-serialize it for the server: each is called once, in this order."""

    method: str
    host: str
    port: int
    target: str
    headers: Headers
    authorization: str
    _parser: h11.Connection
    _writer: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT))

    @property
    def is_tunnel(self) -> bool:
        return self.method == "CONNECT"

    def head(self) -> bytes:
        """The head for the server: the checked host, no headers of the proxy, one request a connection."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        authority = host if self.port == 80 else f"{host}:{self.port}"
        dropped = HOP_BY_HOP | self._named_by_connection()
        headers = [(b"Host", authority.encode()), (b"Connection", b"close")]
        headers += [(name, value) for name, value in self.headers if name.lower() not in dropped]
        return self._writer.send(h11.Request(method=self.method, target=self.target, headers=headers)) or b""

    def _named_by_connection(self) -> set[bytes]:
        named = b",".join(value for name, value in self.headers if name.lower() == b"connection")
        return {word.strip().lower() for word in named.split(b",") if word.strip()} - FRAMING

    async def body(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        """The declared body, framed for the server; bytes after it are dropped. Raises `UnreadableRequest`."""
        overhead = _FramingBytes()
        while True:
            event = _next_event(self._parser)
            if event is h11.NEED_DATA:
                overhead.check()
                data = await reader.read(PIECE)
                overhead.received(len(data))
                self._parser.receive_data(data)
            elif isinstance(event, h11.Data):
                overhead.carried(event)
                yield self._writer.send(h11.Data(data=event.data)) or b""
            elif isinstance(event, h11.EndOfMessage):
                overhead.check(left_bytes=len(self._parser.trailing_data[0]))
                if event.headers:
                    raise UnreadableRequest("trailers are not supported")
                yield self._writer.send(h11.EndOfMessage()) or b""
                return
            else:
                raise UnreadableRequest("the body is incomplete")


class _FramingBytes:
    """Bounds what chunk extensions and trailers may add to a body, on the average of its chunks."""

    def __init__(self) -> None:
        self._bytes = 0
        self._chunks = 1  # the last one has no data

    def received(self, size_bytes: int) -> None:
        self._bytes += size_bytes

    def carried(self, event: h11.Data) -> None:
        self._bytes -= len(event.data)
        self._chunks += event.chunk_start

    def check(self, *, left_bytes: int = 0) -> None:
        if self._bytes - left_bytes > self._chunks * (CHUNK_LINE_BYTES + len(b"\r\n")):
            raise UnreadableRequest("the chunk extensions are too long")


async def read_head(reader: asyncio.StreamReader) -> Request:
    """Reads no byte after the head, so that `reader` continues with the tunnel or body. Raises `UnreadableRequest`."""
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(await _head_bytes(reader))
    event = _next_event(parser)
    if not isinstance(event, h11.Request):
        raise UnreadableRequest("the request head is incomplete")
    method, target = event.method.decode(), event.target.decode()
    if not METHOD.fullmatch(method) or event.http_version not in (b"1.1", b"1.0"):
        raise UnreadableRequest("the request line is not HTTP/1.1")
    headers = tuple(event.headers.raw_items())
    host, port, path = _tunnel(target) if method == "CONNECT" else _absolute(target)
    _check_framing(event, tunnel=method == "CONNECT")
    authorization = _single(event, b"proxy-authorization").decode("latin-1")
    return Request(method, host, port, path, headers, authorization, parser)


def _next_event(parser: h11.Connection) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
    try:
        return parser.next_event()
    except h11.RemoteProtocolError as error:
        raise UnreadableRequest(f"the request is malformed: {error}"[:200]) from None


async def _head_bytes(reader: asyncio.StreamReader) -> bytes:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise UnreadableRequest("the request head is too long") from None
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            raise ConnectionResetError("closed without a request") from None
        raise UnreadableRequest("the request head is incomplete") from None
    if len(raw) > HEAD_BYTES:
        raise UnreadableRequest("the request head is too long")
    names = _check_lines(raw[:-4].split(b"\r\n"))
    # Clients of proxies leave out the host, which h11 wants; the target names it, and `head` writes it again.
    return raw if b"host" in names else raw[:-2] + b"Host: absent\r\n\r\n"


def _check_lines(lines: list[bytes]) -> list[bytes]:
    """Refuses what h11 would repair. The lower-case names of the headers; h11 checks their form."""
    if any(CONTROL.search(line) for line in lines):
        raise UnreadableRequest("the request head holds a bare CR or LF, or another control character")
    if any(line.startswith((b" ", b"\t")) for line in lines):
        raise UnreadableRequest("the request head holds a folded line")
    names = [line.partition(b":")[0].lower() for line in lines[1:]]
    if any(names.count(name) > 1 for name in FRAMING):
        raise UnreadableRequest("the request declares the length of its body more than once")
    return names


def _check_framing(event: h11.Request, *, tunnel: bool) -> None:
    length, encoding = _single(event, b"content-length"), _single(event, b"transfer-encoding")
    if encoding and (length or event.http_version == b"1.0"):
        raise UnreadableRequest("transfer-encoding excludes content-length and HTTP/1.0")
    if len(length) > CONTENT_LENGTH_DIGITS:
        raise UnreadableRequest("the content-length is too large")
    if tunnel and (encoding or int(length or b"0")):
        raise UnreadableRequest("CONNECT has no body")


def _single(event: h11.Request, name: bytes) -> bytes:
    values = [value for key, value in event.headers if key == name]
    if len(values) > 1:
        raise UnreadableRequest(f"{name.decode()} is there more than once")
    return values[0] if values else b""


def _tunnel(target: str) -> tuple[str, int, str]:
    authority, colon, port = target.rpartition(":")
    if not colon:
        raise UnreadableRequest("CONNECT needs host:port")
    return _host(authority), _port(port), target


def _absolute(target: str) -> tuple[str, int, str]:
    if not target.lower().startswith("http://"):
        raise UnreadableRequest("the target of a proxied request begins with http://; use CONNECT for https")
    try:
        parts = urlsplit(target)
        port = parts.port
    except ValueError:
        raise UnreadableRequest("the target is not a valid URL") from None
    authority = parts.netloc
    if "@" in authority or "\\" in target or "#" in target:
        raise UnreadableRequest("the target contains a user name, a fragment or a backslash")
    host = authority if port is None else authority.rpartition(":")[0]
    path = parts.path or "/"
    return _host(host.rstrip(":")), port or 80, f"{path}?{parts.query}" if parts.query else path


def _host(text: str) -> str:
    text = text.lower()
    address = ADDRESS_6.fullmatch(text)
    if address:
        return address[1]
    host = text.removesuffix(".")
    if not HOST.fullmatch(host) or ".." in host:
        raise UnreadableRequest("the host is neither a name nor an address")
    return host


def _port(text: str) -> int:
    if not re.fullmatch(r"\d{1,5}", text) or not 0 < int(text) < 65536:
        raise UnreadableRequest("the port is not a number from 1 to 65535")
    return int(text)
