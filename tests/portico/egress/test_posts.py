"""What is special to the posting client; what it shares with the other one is in `test_egress`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import httpx2
import pytest

from portico.egress.guard import Network
from portico.egress.posts import Poster, session
from portico.errors import Forbidden
from tests.portico.listeners import Names, OriginServer

LIMITS = httpx2.Timeout(5.0)
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Keeper:
    """A server that keeps connections open, records requests, and closes when it is told to."""

    def __init__(self) -> None:
        self.requests: list[tuple[int, bytes]] = []
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Keeper]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self
            await self.hang_up()

    async def hang_up(self) -> None:
        for writer in self._writers:
            writer.close()
            await writer.wait_closed()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        number = len({known for known, _ in self.requests}) + 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
                self.requests.append((number, await reader.readexactly(length)))
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            return


def allowed(port: int) -> Network:
    return Network(allow=frozenset({f"127.0.0.1:{port}"}))


async def test_a_literal_is_refused_though_a_name_that_leads_there_is_allowed(origin: OriginServer) -> None:
    """In one task, so that nothing of the first request may speak for the second."""
    poster = Poster(Network(frozenset({"ours.example"})), timeout=LIMITS, resolve=Names(["127.0.0.1"]))
    answer = await poster.post(f"http://ours.example:{origin.port}/", content=b"", headers={})
    assert answer.content == b"ok"
    with pytest.raises(Forbidden):
        await poster.post(f"http://127.0.0.1:{origin.port}/", content=b"", headers={})
    await poster.aclose()
    assert len(origin.visits) == 1


async def test_a_redirect_inside_is_refused(origin: OriginServer) -> None:
    async with OriginServer() as other:
        origin.answer = (
            f"HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:{other.port}/\r\ncontent-length: 0\r\n"
            "connection: close\r\n\r\n"
        ).encode()
        async with session(allowed(origin.port)) as http:
            with pytest.raises(Forbidden):
                await http.post(f"http://127.0.0.1:{origin.port}/", data=b"", allow_redirects=True)
        assert (len(origin.visits), other.visits) == (1, [])


async def test_what_is_asked_past_the_guard_counts_as_asked_by_nobody(origin: OriginServer) -> None:
    """Whoever takes the middleware away loses the allowances, and not the check."""
    async with session(allowed(origin.port)) as http:
        with pytest.raises(Forbidden):
            await http.get(f"http://127.0.0.1:{origin.port}/", middlewares=())
    assert origin.visits == []


async def test_cookies_are_not_kept(origin: OriginServer) -> None:
    origin.answer = b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    poster = Poster(allowed(origin.port), timeout=LIMITS)
    for _ in range(2):
        await poster.post(f"http://127.0.0.1:{origin.port}/", content=b"", headers={})
    await poster.aclose()
    assert not any("cookie" in visit.lower() for visit in origin.visits)


async def test_a_connection_is_kept_and_used_again() -> None:
    async with Keeper().open() as keeper:
        poster = Poster(allowed(keeper.port), timeout=LIMITS)
        for body in (b"one", b"two"):
            await poster.post(f"http://127.0.0.1:{keeper.port}/", content=body, headers={})
        await poster.aclose()
    assert keeper.requests == [(1, b"one"), (1, b"two")]


async def test_a_kept_connection_that_the_server_has_closed_is_not_written_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the end has arrived and the event loop has not looked yet: nothing is lost, nothing doubled."""
    async with Keeper().open() as keeper:
        poster = Poster(allowed(keeper.port), timeout=LIMITS)
        url = f"http://127.0.0.1:{keeper.port}/"
        await asyncio.gather(*(poster.post(url, content=b"warm", headers={}) for _ in range(3)))
        monkeypatch.setattr(aiohttp.client_proto.ResponseHandler, "connection_lost", lambda *_: None)
        monkeypatch.setattr(aiohttp.client_proto.ResponseHandler, "is_connected", lambda _: True)
        await keeper.hang_up()
        warm = len(keeper.requests)
        answer = await poster.post(url, content=b"after", headers={})
        assert answer.content == b"ok"
        assert [body for _, body in keeper.requests[warm:]] == [b"after"]
        monkeypatch.undo()
        await poster.aclose()


async def test_what_may_have_been_written_is_told_from_what_was_not() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        writer.close()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"this is no HTTP\r\n\r\n")
        writer.close()

    for serve in (reset, cut, hang, babble):
        with pytest.raises(httpx2.HTTPError) as caught:
            await _served(serve)
        assert not isinstance(
            caught.value, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout
        ), serve


async def _served(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]) -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)  # type: ignore[arg-type]
    port = server.sockets[0].getsockname()[1]
    poster = Poster(allowed(port), timeout=httpx2.Timeout(0.3))
    try:
        await poster.post(f"http://127.0.0.1:{port}/secret", content=b"x", headers={})
    except httpx2.HTTPError as error:
        assert error.__cause__ is None
        assert "secret" not in str(error)
        raise
    finally:
        await poster.aclose()
        server.close()


async def test_a_server_that_speaks_no_tls_is_no_connection() -> None:
    async with Keeper().open() as keeper:
        poster = Poster(allowed(keeper.port), timeout=httpx2.Timeout(0.5))
        with pytest.raises((httpx2.ConnectError, httpx2.ConnectTimeout)):
            await poster.post(f"https://127.0.0.1:{keeper.port}/", content=b"x", headers={})
        await poster.aclose()
    assert keeper.requests == []


async def test_no_free_connection_in_time_is_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portico.egress.posts.MAX_CONNECTIONS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        poster = Poster(allowed(port), timeout=httpx2.Timeout(connect=0.2, pool=0.2, read=3, write=3))
        first = asyncio.create_task(poster.post(f"http://127.0.0.1:{port}/", content=b"", headers={}))
        await asyncio.sleep(0)
        with pytest.raises(httpx2.ConnectTimeout):
            await poster.post(f"http://127.0.0.1:{port}/", content=b"", headers={})
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await poster.aclose()


@pytest.mark.parametrize("url", ["ftp://a.example/", "a.example", "http://", "http://2130706433/"])
async def test_what_is_no_address_is_no_connection(url: str) -> None:
    poster = Poster(Network(), timeout=LIMITS)
    with pytest.raises((Forbidden, httpx2.ConnectError)):
        await poster.post(url, content=b"", headers={})
    await poster.aclose()


@pytest.fixture
async def origin() -> AsyncIterator[OriginServer]:
    async with OriginServer() as opened:
        yield opened
