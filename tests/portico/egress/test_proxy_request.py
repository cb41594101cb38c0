"""Requests as the egress proxy parses them."""

from __future__ import annotations

import asyncio

import pytest

from portico.egress.proxy_request import Request, UnreadableRequest, read_head


async def test_reads_an_ipv6_address_as_it_is_written() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"GET http://[2606:4700::1111]:8080/x HTTP/1.1\r\n\r\n")
    request: Request = await read_head(reader)
    assert (request.host, request.port) == ("2606:4700::1111", 8080)
    assert b"Host: [2606:4700::1111]:8080\r\n" in request.head()


async def test_a_chunk_that_lies_about_its_size_ends_the_request() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"5\r\nabc\r\n0\r\n\r\n")
    reader.feed_eof()
    request = Request("POST", "a", 80, "/", (), None, "")
    with pytest.raises((UnreadableRequest, asyncio.IncompleteReadError)):
        _ = [piece async for piece in request.body(reader)]
