"""Parses one request of a guest to the sandbox's proxy with h11, strictly: ambiguous requests are refused.

h11 repairs what RFC 9112 lets a recipient repair (bare LF, folded lines, equal content-lengths). A proxy must not,
since the server behind it may repair differently, so `_check_lines` refuses these before h11 parses them.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from sandbox.allowed import normal

HEAD_LIMIT = 16 * 1024
CONTENT_LENGTH_DIGITS = 15
METHOD = re.compile(rb"[A-Z]{3,16}")
CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
DROPPED = frozenset(
    {
        b"connection",
        b"proxy-connection",
        b"proxy-authorization",
        b"keep-alive",
        b"host",
        b"te",
        b"upgrade",
    }
)


class OutboundRefused(Exception):
    """The proxy refuses the request with this status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class OutboundRequest:
    """`head` is what the server receives, empty for a tunnel. `length`: bytes of the body, None for a tunnel."""

    host: str
    port: int
    head: bytes
    length: int | None
    size_bytes: int
    """Of the head as the guest sent it."""

    @property
    def is_tunnel(self) -> bool:
        return self.length is None


async def read_request(reader: asyncio.StreamReader) -> OutboundRequest:
    """Reads no byte after the head, so that `reader` continues with the tunnel or body. Raises `OutboundRefused`."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise OutboundRefused(400, "the request head is incomplete or too long") from None
    event = _parsed(raw)
    length = _length(event)
    tunnel = event.method == b"CONNECT"
    if tunnel and length:
        raise OutboundRefused(400, "CONNECT has no body")
    host, port, path = _target(event.target.decode(), tunnel=tunnel)
    if tunnel:
        return OutboundRequest(host, port, b"", None, len(raw))
    return OutboundRequest(host, port, _rewritten(event, host, port, path), length, len(raw))


def _parsed(raw: bytes) -> h11.Request:
    if len(raw) > HEAD_LIMIT:
        raise OutboundRefused(400, "the request head is too long")
    names = _check_lines(raw[:-4].split(b"\r\n"))
    parser = h11.Connection(h11.SERVER)
    # Clients of proxies leave out the host, which h11 wants; the target names it, and `_rewritten` writes it again.
    parser.receive_data(raw if b"host" in names else raw[:-2] + b"Host: absent\r\n\r\n")
    try:
        event = parser.next_event()
    except h11.RemoteProtocolError as error:
        raise OutboundRefused(400, f"the request is malformed: {error}"[:200]) from None
    if not isinstance(event, h11.Request):
        raise OutboundRefused(400, "the request head is incomplete")
    if not METHOD.fullmatch(event.method) or event.http_version not in (b"1.0", b"1.1"):
        raise OutboundRefused(400, "the request line is not HTTP/1.1")
    return event


def _check_lines(lines: list[bytes]) -> list[bytes]:
    """Refuses what h11 would repair. The lower-case names of the headers; h11 checks their form."""
    if any(CONTROL.search(line) for line in lines):
        raise OutboundRefused(400, "the request head holds a bare CR or LF, or another control character")
    if any(line.startswith((b" ", b"\t")) for line in lines):
        raise OutboundRefused(400, "the request head holds a folded line")
    names = [line.partition(b":")[0].lower() for line in lines[1:]]
    if names.count(b"content-length") > 1:
        raise OutboundRefused(400, "the content-length is there more than once")
    if b"transfer-encoding" in names:
        raise OutboundRefused(411, "a body needs a content-length")
    return names


def _length(event: h11.Request) -> int:
    length = next((value for name, value in event.headers if name == b"content-length"), b"0")
    if len(length) > CONTENT_LENGTH_DIGITS:
        raise OutboundRefused(400, "the content-length is too large")
    return int(length)


def _target(target: str, *, tunnel: bool) -> tuple[str, int, str]:
    try:
        parts = urlsplit(f"//{target}" if tunnel else target)
        host, port = normal(parts.hostname or ""), parts.port
    except ValueError:
        raise OutboundRefused(400, "the target is not a valid URL") from None
    if not host or "@" in parts.netloc or (tunnel and (port is None or parts.path)):
        raise OutboundRefused(400, "the target is not a host and port")
    if not tunnel and parts.scheme != "http":
        raise OutboundRefused(400, "only http:// and CONNECT are supported")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return host, port or 80, path


def _rewritten(event: h11.Request, host: str, port: int, path: str) -> bytes:
    """The head for one request to that host, without the headers that only concern the proxy."""
    listed = b",".join(value for name, value in event.headers if name == b"connection")
    dropped = DROPPED | ({word.strip().lower() for word in listed.split(b",")} - {b"content-length"})
    name = f"[{host}]" if ":" in host else host
    headers = [(b"Host", (name if port == 80 else f"{name}:{port}").encode()), (b"Connection", b"close")]
    headers += [(raw, value) for raw, value in event.headers.raw_items() if raw.lower() not in dropped]
    try:
        head = h11.Connection(h11.CLIENT).send(h11.Request(method=event.method, target=path, headers=headers))
    except h11.LocalProtocolError as error:
        raise OutboundRefused(400, f"the target is malformed: {error}"[:200]) from None
    return head or b""
