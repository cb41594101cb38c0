"""Reads one request to the egress proxy, strictly: what two readers could understand differently is refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

HEAD_BYTES = 32 * 1024
PIECE = 64 * 1024
CHUNK_LINE_BYTES = 64
METHOD = re.compile(r"[A-Z]{1,20}")
NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
ADDRESS_6 = re.compile(r"\[([0-9a-f:.]{2,45})\]")
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "host",
    }
)


class UnreadableRequest(Exception):
    """The request does not say clearly what it wants."""


@dataclass(frozen=True)
class Request:
    """One request, already taken apart. `length` is None where the body comes in chunks."""

    method: str
    host: str
    port: int
    target: str
    headers: tuple[tuple[str, str], ...]
    length: int | None
    authorization: str

    @property
    def is_tunnel(self) -> bool:
        return self.method == "CONNECT"

    def head(self) -> bytes:
        """As the server behind the proxy gets it: its own address, nothing of the proxy, one request only."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        authority = host if self.port == 80 else f"{host}:{self.port}"
        dropped = HOP_BY_HOP | self._named_by_connection()
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {authority}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in self.headers if name.lower() not in dropped]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _named_by_connection(self) -> set[str]:
        named = ",".join(value for name, value in self.headers if name.lower() == "connection")
        framing = {"content-length", "transfer-encoding"}
        return {word.strip().lower() for word in named.split(",") if word.strip()} - framing

    async def body(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        """The pieces of the body, framed as they came. Raises `Unreadable` for chunks that are none."""
        if self.length is None:
            async for piece in _chunks(reader):
                yield piece
            return
        left = self.length
        while left and (piece := await reader.read(min(left, PIECE))):
            left -= len(piece)
            yield piece


async def read_head(reader: asyncio.StreamReader) -> Request:
    """Raises `Unreadable`."""
    lines = [line async for line in _lines(reader)]
    method, target = _request_line(lines[0])
    headers = tuple(_header(line) for line in lines[1:])
    host, port, target = _tunnel(target) if method == "CONNECT" else _absolute(target)
    authorization = _single(headers, "proxy-authorization")
    return Request(method, host, port, target, headers, _length(headers), authorization)


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[str]:
    """Lines of the head without their ends. Each ends with CR LF: a bare LF or CR is refused."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise UnreadableRequest("the head of the request is too long") from None
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            raise ConnectionResetError("nothing was asked") from None
        raise UnreadableRequest("the head of the request is not whole") from None
    if len(raw) > HEAD_BYTES:
        raise UnreadableRequest("the head of the request is too long")
    for line in raw[:-4].split(b"\r\n"):
        if b"\n" in line or b"\r" in line or b"\0" in line:
            raise UnreadableRequest("a line of the head does not end as it should")
        yield line.decode("latin-1")


def _request_line(line: str) -> tuple[str, str]:
    words = line.split(" ")
    if len(words) != 3 or not METHOD.fullmatch(words[0]) or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise UnreadableRequest("the request line is no HTTP/1.1")
    if not words[1].isascii() or not words[1].isprintable():
        raise UnreadableRequest("the target of the request is not plain ASCII")
    return words[0], words[1]


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not NAME.fullmatch(name):
        raise UnreadableRequest("a header line is not NAME: VALUE")
    return name, value.strip(" \t")


def _tunnel(target: str) -> tuple[str, int, str]:
    authority, colon, port = target.rpartition(":")
    if not colon:
        raise UnreadableRequest("CONNECT wants host:port")
    return _host(authority), _port(port), target


def _absolute(target: str) -> tuple[str, int, str]:
    if not target.lower().startswith("http://"):
        raise UnreadableRequest("a request to a proxy begins with http://; for https use CONNECT")
    try:
        parts = urlsplit(target)
        port = parts.port
    except ValueError:
        raise UnreadableRequest("the address cannot be read") from None
    authority = parts.netloc
    if "@" in authority or "\\" in target or "#" in target:
        raise UnreadableRequest("the address holds a name, a fragment or a backslash")
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
        raise UnreadableRequest("the host is not a name or an address")
    return host


def _port(text: str) -> int:
    if not re.fullmatch(r"\d{1,5}", text) or not 0 < int(text) < 65536:
        raise UnreadableRequest("the port is not a number from 1 to 65535")
    return int(text)


def _single(headers: tuple[tuple[str, str], ...], wanted: str) -> str:
    found = [value for name, value in headers if name.lower() == wanted]
    if len(found) > 1:
        raise UnreadableRequest(f"{wanted} is there more than once")
    return found[0] if found else ""


def _length(headers: tuple[tuple[str, str], ...]) -> int | None:
    length, encoding = _single(headers, "content-length"), _single(headers, "transfer-encoding")
    if encoding:
        if length or encoding.lower() != "chunked":
            raise UnreadableRequest("the body has two lengths, or an encoding that is not known")
        return None
    if length and not re.fullmatch(r"\d{1,15}", length):
        raise UnreadableRequest("content-length is no number")
    return int(length or 0)


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        size = await _chunk_size(reader)
        yield f"{size:x}\r\n".encode()
        left = size
        while left:
            piece = await reader.read(min(left, PIECE))
            if not piece:
                raise UnreadableRequest("the body broke off")
            left -= len(piece)
            yield piece
        if await reader.readexactly(2) != b"\r\n":  # after the last chunk: trailers are not carried
            raise UnreadableRequest("a chunk does not end where it said")
        yield b"\r\n"
        if not size:
            return


async def _chunk_size(reader: asyncio.StreamReader) -> int:
    line = await reader.readuntil(b"\r\n")
    found = re.fullmatch(rb"([0-9A-Fa-f]{1,8})(?:;[^\r\n]*)?\r\n", line)
    if found is None or len(line) > CHUNK_LINE_BYTES:
        raise UnreadableRequest("a chunk does not say its size")
    return int(found[1], 16)
