"""Requests as the sandbox's proxy parses them, and one connection of a guest to a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.allowed import Allowed, Rule
from sandbox.link import Call
from sandbox.proxy import ProxyConnection
from sandbox.proxy_request import HEAD_LIMIT, OutboundRefused, OutboundRequest, read_request

HEAD = b"POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\n"


async def read(raw: bytes) -> OutboundRequest:
    reader = asyncio.StreamReader(limit=HEAD_LIMIT)
    reader.feed_data(raw)
    reader.feed_eof()
    return await read_request(reader)


async def status_of(raw: bytes) -> int:
    with pytest.raises(OutboundRefused) as refused:
        await read(raw)
    return refused.value.status


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 3\r\nContent-Length: 3",
        b"Content-Length: 3\r\ncontent-length: 4",
        b"Content-Length: 0\r\nContent-Length: 4",
        b"Content-Length: 3, 4",
        b"Content-Length: 0x3",
        b"Content-Length: -3",
        b"Content-Length: +3",
        b"Content-Length: 3 3",
        b"Content-Length: \xb2",
        b"Content-Length: " + b"9" * 16,
        b"Content-Length : 3",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding\t: chunked",
        b"A: b\r\n folded: c",
        b"A: b\r\n\tTransfer-Encoding: chunked",
        b"A: b\nTransfer-Encoding: chunked",
        b"A: b\nHost: b.example",
        b"A: b\n\nGET http://b.example/ HTTP/1.1",
        b"A: b\rHost: b.example",
        b"A: b\0c",
        b"A\0: b",
        b"A: b\x01",
        b"A",
        b": b",
        b"A b: c",
        b"A: " + b"x" * HEAD_LIMIT,
        b"Host: b.example",
    ],
)
async def test_refuses_headers_that_two_parsers_may_read_differently(lines: bytes) -> None:
    assert await status_of(HEAD + lines + b"\r\n\r\n") == 400


@pytest.mark.parametrize(
    "lines",
    [
        b"Transfer-Encoding: chunked",
        b"transfer-encoding: identity",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding:\tchunked\r\nTransfer-Encoding: chunked",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3",
    ],
)
async def test_refuses_a_body_in_chunks(lines: bytes) -> None:
    assert await status_of(HEAD + lines + b"\r\n\r\n") == 411
    assert await status_of(b"POST http://a.example/ HTTP/1.0\r\n" + lines + b"\r\n\r\n") == 411


@pytest.mark.parametrize(
    "line",
    [
        b"POST http://a.example/ HTTP/1.1\n",
        b"POST http://a.example/ HTTP/1.1 ",
        b" POST http://a.example/ HTTP/1.1",
        b"POST  http://a.example/ HTTP/1.1",
        b"POST\thttp://a.example/\tHTTP/1.1",
        b"POST http://a.example/ b HTTP/1.1",
        b"POST http://a.example/\0 HTTP/1.1",
        b"POST http://\xe2\x91\xa0.example/ HTTP/1.1",
        b"POST http://a.example/ HTTP/1.2",
        b"POST http://a.example/ HTTP/2.0",
        b"POST http://a.example/ HTTP/0.9",
        b"POST http://a.example/",
        b"post http://a.example/ HTTP/1.1",
        b"POST http://a.example/" + b"x" * HEAD_LIMIT + b" HTTP/1.1",
        b"POST /only-a-path HTTP/1.1",
        b"POST https://a.example/ HTTP/1.1",
        b"POST http://b@a.example/ HTTP/1.1",
        b"POST http://:b@a.example/ HTTP/1.1",
        b"POST http://@a.example/ HTTP/1.1",
        b"POST http://a.example\\@b.example/ HTTP/1.1",
        b"POST http://a.example:99999/ HTTP/1.1",
        b"POST http:///x HTTP/1.1",
        b"CONNECT a.example HTTP/1.1",
        b"CONNECT a.example:443/x HTTP/1.1",
        b"CONNECT http://a.example:443 HTTP/1.1",
        b"",
    ],
)
async def test_refuses_a_malformed_request_line(line: bytes) -> None:
    assert await status_of(line + b"\r\nHost: a.example\r\n\r\n") == 400


async def test_refuses_a_tunnel_with_a_body_and_a_head_that_breaks_off() -> None:
    assert await status_of(b"CONNECT a.example:443 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc") == 400
    assert await status_of(HEAD) == 400
    assert await status_of(b"") == 400


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_host_header_is_not_needed_and_not_believed(version: bytes) -> None:
    request = await read(b"GET http://a.example:81/x?y HTTP/" + version + b"\r\n\r\n")
    assert (request.host, request.port, request.length) == ("a.example", 81, 0)
    assert request.head == b"GET /x?y HTTP/1.1\r\nHost: a.example:81\r\nConnection: close\r\n\r\n"
    request = await read(b"GET http://a.example/ HTTP/" + version + b"\r\nHost: b.example\r\n\r\n")
    assert b"b.example" not in request.head


async def test_headers_between_guest_and_proxy_are_not_sent_on() -> None:
    lines = (
        b"Connection: X-Secret, content-length\r\nX-Secret: 1\r\nProxy-Authorization: x\r\nUpgrade: h2c\r\n"
        b"X-Kept: 2\r\nContent-Length: 3\r\n\r\n"
    )
    request = await read(HEAD + lines)
    head = request.head.lower()
    assert request.length == 3 and b"content-length: 3\r\n" in head and b"x-kept: 2\r\n" in head
    for name in (b"x-secret", b"proxy-authorization", b"upgrade"):
        assert name not in head


@given(st.binary(max_size=200))
async def test_any_bytes_are_one_request_or_refused(lines: bytes) -> None:
    try:
        request = await read(HEAD + lines + b"\r\n\r\n")
    except OutboundRefused:
        return
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(request.head)
    event = parser.next_event()
    assert isinstance(event, h11.Request) and dict(event.headers)[b"host"] == b"a.example"
    assert parser.trailing_data[0] == b""


class Guest:
    """Stands for the pipe to the guest, and keeps what the proxy sends to it."""

    def __init__(self) -> None:
        self.received = b""

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        self.received += body

    async def flow(self) -> None:
        pass


@asynccontextmanager
async def server(received: list[bytes], answer: bytes) -> AsyncIterator[int]:
    """Keeps what arrives until the other end is silent for a moment, then answers and closes."""

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await asyncio.wait_for(reader.read(65536), 0.3):
                received.append(piece)
        except TimeoutError:
            pass
        writer.write(answer)
        writer.close()

    started = await asyncio.start_server(keep, "127.0.0.1", 0)
    yield started.sockets[0].getsockname()[1]
    started.close()


async def exchange(port: int, raw: bytes) -> bytes:
    guest = Guest()
    allowed = Allowed((Rule("a.example", (port,), "127.0.0.1"),), ("*",))
    connection = ProxyConnection(1, cast(Call, guest), lambda: allowed)
    connection.fed(raw)
    connection.reader.feed_eof()
    await asyncio.wait_for(connection.serve(), 10)
    return guest.received


async def test_a_second_request_in_the_same_bytes_goes_nowhere() -> None:
    received: list[bytes] = []
    async with server(received, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n") as port:
        first = f"POST http://a.example:{port}/ HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc".encode()
        answer = await exchange(port, first + f"GET http://a.example:{port}/hidden HTTP/1.1\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"".join(received).endswith(b"\r\n\r\nabc")


async def test_early_data_of_a_tunnel_reaches_the_server() -> None:
    received: list[bytes] = []
    async with server(received, b"late") as port:
        answer = await exchange(port, f"CONNECT a.example:{port} HTTP/1.1\r\n\r\nearly".encode())
    assert answer == b"HTTP/1.1 200 Connection established\r\n\r\nlate"
    assert received == [b"early"]


async def test_a_refused_request_reaches_no_server() -> None:
    received: list[bytes] = []
    async with server(received, b"") as port:
        head = f"POST http://a.example:{port}/ HTTP/1.1\r\nContent-Length: 1\r\n".encode()
        for line in (b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n", b"A: b\nHost: c\r\n"):
            assert (await exchange(port, head + line + b"\r\na")).split()[1] in (b"400", b"411")
    assert received == []


async def test_a_guest_that_sends_no_head_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.proxy.HEAD_S", 0.1)
    guest = Guest()
    connection = ProxyConnection(1, cast(Call, guest), Allowed)
    connection.fed(b"GET http://a.example/ HTTP/1.1\r\nA")
    await asyncio.wait_for(connection.serve(), 10)
    assert guest.received.split()[1] == b"400"
