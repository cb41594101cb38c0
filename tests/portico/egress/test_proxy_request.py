"""Requests as the egress proxy parses them."""

from __future__ import annotations

import asyncio

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.egress import proxy_request
from portico.egress.proxy_request import HEAD_BYTES, Request, UnreadableRequest, read_head

HEAD = b"POST http://a.example/ HTTP/1.1\r\nHost: a.example\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def fed(raw: bytes) -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    reader.feed_data(raw)
    reader.feed_eof()
    return reader


async def forwarded(raw: bytes) -> bytes:
    """The request as the server behind the proxy receives it."""
    reader = fed(raw)
    request = await read_head(reader)
    return request.head() + b"".join([piece async for piece in request.body(reader)])


async def test_reads_an_ipv6_address_as_it_is_written() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"GET http://[2606:4700::1111]:8080/x HTTP/1.1\r\n\r\n")
    request: Request = await read_head(reader)
    assert (request.host, request.port) == ("2606:4700::1111", 8080)
    assert b"Host: [2606:4700::1111]:8080\r\n" in request.head()


@pytest.mark.parametrize(
    "body",
    [
        b"5\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\r\nabcXX0\r\n\r\n",
        b"3\nabc\n0\n\n",
        b"3\r\nabc\r\n0\r\n",
        b"3\r\nabc\r\n",
        b"-3\r\nabc\r\n0\r\n\r\n",
        b"+3\r\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b" 3\r\nabc\r\n0\r\n\r\n",
        b"3_0\r\nabc\r\n0\r\n\r\n",
        b"\r\nabc\r\n0\r\n\r\n",
        b"f" * 21 + b"\r\nabc\r\n0\r\n\r\n",
        b"3;a\nb\r\nabc\r\n0\r\n\r\n",
        b"3;" + b"x" * 5000 + b"\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabc\r\n0;" + b"x" * 100_000 + b"\r\n\r\n",
        b"3\r\nabc\r\n0\r\nTrailer: x\r\n\r\n",
        b"3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n",
    ],
)
async def test_a_chunk_that_lies_about_its_size_ends_the_request(body: bytes) -> None:
    reader = fed(CHUNKED + body)
    request = await read_head(reader)
    request.head()
    with pytest.raises((UnreadableRequest, asyncio.IncompleteReadError)):
        _ = [piece async for piece in request.body(reader)]


async def test_a_body_shorter_than_it_says_ends_the_request() -> None:
    with pytest.raises(UnreadableRequest):
        await forwarded(HEAD + b"Content-Length: 5\r\n\r\nabc")


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 3\r\nContent-Length: 3",
        b"Content-Length: 3\r\ncontent-length: 4",
        b"Content-Length: 3, 4",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding:\x0bchunked",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding\t: chunked",
        b"Content-Length : 3",
        b"Content-Length: 0x3",
        b"Content-Length: -3",
        b"Content-Length: 3 3",
        b"Content-Length: " + b"9" * 16,
        b"Content-Length: \xb2",
        b"A: b\r\n folded",
        b"A: b\r\n\tTransfer-Encoding: chunked",
        b"A: b\nTransfer-Encoding: chunked",
        b"A: b\n\nGET http://b.example/ HTTP/1.1",
        b"A: b\rTransfer-Encoding: chunked",
        b"A: b\0c",
        b"A\0: b",
        b"A: b\x01",
        b"A",
        b": b",
        b"A b: c",
        b"A(b): c",
        b"A: " + b"x" * HEAD_BYTES,
        b"Host: b.example",
    ],
)
async def test_refuses_headers_that_two_parsers_may_read_differently(lines: bytes) -> None:
    with pytest.raises(UnreadableRequest):
        await read_head(fed(HEAD + lines + b"\r\n\r\n"))


@pytest.mark.parametrize(
    "line",
    [
        b"POST http://a.example/ HTTP/1.1 ",
        b" POST http://a.example/ HTTP/1.1",
        b"POST\thttp://a.example/\tHTTP/1.1",
        b"POST http://a.example/ b HTTP/1.1",
        b"POST http://a.example/\0 HTTP/1.1",
        b"POST http://a.example/\x7f HTTP/1.1",
        b"POST http://a.example/ HTTP/1.2",
        b"POST http://a.example/ HTTP/0.9",
        b"POST http://a.example/ HTTP/1.1x",
        b"POST http://a.example/ http/1.1",
        b"POST http://a.example/",
        b"POST http://a.example/" + b"x" * HEAD_BYTES + b" HTTP/1.1",
        b"PO(ST http://a.example/ HTTP/1.1",
        b"POST /only-a-path HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
    ],
)
async def test_refuses_a_malformed_request_line(line: bytes) -> None:
    with pytest.raises(UnreadableRequest):
        await read_head(fed(line + b"\r\nHost: a.example\r\n\r\n"))


@pytest.mark.parametrize("line", [b"Content-Length: 3", b"Transfer-Encoding: chunked"])
async def test_refuses_a_tunnel_with_a_body(line: bytes) -> None:
    with pytest.raises(UnreadableRequest):
        await read_head(fed(b"CONNECT a.example:443 HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\nabc"))


async def test_http_1_0_is_read_but_not_in_chunks() -> None:
    head = b"POST http://a.example/ HTTP/1.0\r\n"
    sent = await forwarded(head + b"Content-Length: 3\r\n\r\nabc")
    assert sent.startswith(b"POST / HTTP/1.1\r\nHost: a.example\r\n") and sent.endswith(b"\r\n\r\nabc")
    with pytest.raises(UnreadableRequest):
        await read_head(fed(head + b"Transfer-Encoding: chunked\r\n\r\n"))


async def test_early_data_of_a_tunnel_stays_in_the_reader() -> None:
    reader = fed(b"CONNECT a.example:443 HTTP/1.1\r\nContent-Length: 0\r\n\r\n\x16\x03\x01early")
    request = await read_head(reader)
    assert request.is_tunnel and (request.host, request.port) == ("a.example", 443)
    assert await reader.read() == b"\x16\x03\x01early"


async def test_chunks_are_framed_again_without_extensions_and_what_follows_is_dropped() -> None:
    hidden = b"GET http://b.example/hidden HTTP/1.1\r\n\r\n"
    sent = await forwarded(CHUNKED + b"3;ext=1\r\nabc\r\n0002\r\nde\r\n000\r\n\r\n" + hidden)
    assert sent.endswith(b"\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert b"hidden" not in sent


async def test_many_small_chunks_are_carried() -> None:
    sent = await forwarded(CHUNKED + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n")
    assert sent.count(b"1\r\nx\r\n") == 50_000


@given(st.binary(max_size=200))
async def test_any_bytes_are_one_request_or_refused(lines: bytes) -> None:
    """What is forwarded parses as exactly one request, with the host of the target."""
    try:
        sent = await forwarded(HEAD + lines + b"\r\n\r\n")
    except UnreadableRequest:
        return
    parser = h11.Connection(h11.SERVER)
    parser.receive_data(sent)
    request = parser.next_event()
    assert isinstance(request, h11.Request) and dict(request.headers)[b"host"] == b"a.example"
    while not isinstance(event := parser.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
    assert parser.trailing_data[0] == b""


def test_every_header_that_frames_a_body_is_kept() -> None:
    assert not proxy_request.FRAMING & proxy_request.HOP_BY_HOP
