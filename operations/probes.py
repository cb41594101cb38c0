"""Ask a part itself whether it is up: HTTP, or one unary gRPC call.

On bare sockets, so that the supervisor and `portico status` load no client library and start no thread.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import struct
from collections.abc import Coroutine, Mapping
from typing import Any

TIMEOUT_S = 2.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, GOAWAY = 0, 1, 4, 6, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1
GRPC_TRUE = b"\x08\x01"  # field 1 = 1: health SERVING, and Triton's ready = true


class NoAnswer(Exception):
    """The part does not listen, or not in the way that was asked."""


async def http(
    address: str,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: Any = None,
    tls: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> tuple[int, bytes]:
    """One request (a body goes as JSON) → status and body. Raises `NoAnswer`."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.0", f"Host: {address}", f"Content-Length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if content:
        lines.append("Content-Type: application/json")
    request = ("\r\n".join(lines) + "\r\n\r\n").encode() + content
    answer = await _within(timeout_s, _exchange(address, request, tls=tls))
    head, _, rest = answer.partition(b"\r\n\r\n")
    try:
        return int(head.split(b" ", 2)[1]), rest
    except (IndexError, ValueError):
        raise NoAnswer(f"{address} does not speak HTTP") from None


async def http_ok(address: str, path: str, *, tls: bool = False) -> bool:
    try:
        status, _ = await http(address, path, tls=tls)
    except NoAnswer:
        return False
    return status == 200


async def grpc_true(address: str, method: str, message: bytes = b"", *, timeout_s: float = TIMEOUT_S) -> bool:
    """Call `/package.Service/Method`; true if the answer says so (`SERVING`, `ready: true`)."""
    try:
        return await _within(timeout_s, _grpc(address, method, message)) == GRPC_TRUE
    except NoAnswer:
        return False


def first_field(name: str) -> bytes:
    """A message whose first field is a name: the service of a `Health/Check`, the model of a `ModelReady`."""
    return b"\x0a" + bytes([len(name)]) + name.encode()


async def _within(timeout_s: float, work: Coroutine[Any, Any, bytes]) -> bytes:
    try:
        return await asyncio.wait_for(work, timeout_s)
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        raise NoAnswer(str(error) or type(error).__name__) from error


async def _exchange(address: str, request: bytes, *, tls: bool) -> bytes:
    reader, writer = await _connect(address, tls=tls)
    try:
        writer.write(request)
        return await reader.read()
    finally:
        writer.close()


async def _grpc(address: str, method: str, message: bytes) -> bytes:
    reader, writer = await _connect(address)
    try:
        writer.write(PREFACE + _frame(SETTINGS, 0, 0, b""))
        writer.write(_frame(HEADERS, END_HEADERS, 1, _request_headers(address, method)))
        writer.write(_frame(DATA, END_STREAM, 1, struct.pack(">BI", 0, len(message)) + message))
        return await _first_message(reader, writer)
    finally:
        writer.close()


async def _first_message(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    received = b""
    while True:
        head = await reader.readexactly(9)
        payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
        kind, flags = head[3], head[4]
        if kind == DATA:
            received += payload
            if len(received) >= 5 and len(received) >= 5 + int.from_bytes(received[1:5], "big"):
                return received[5:]
        elif kind in (SETTINGS, PING) and not flags & ACK:
            writer.write(_frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind == GOAWAY or (kind == HEADERS and flags & END_STREAM):
            return b""  # refused: only trailers came


def _request_headers(address: str, method: str) -> bytes:
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": method,
        ":authority": address,
        "content-type": "application/grpc",
        "te": "trailers",
    }
    # HPACK "literal header field without indexing, new name", plain strings shorter than 127 bytes
    return b"".join(
        b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


async def _connect(address: str, *, tls: bool = False) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port), ssl=_own_certificate() if tls else None)


def _own_certificate() -> ssl.SSLContext:
    """The certificate carries the public name, and the connection does not leave the machine."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
