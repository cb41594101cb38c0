"""The proxy against real sockets, asked as a program would ask that wants out."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import httpx2
import pytest

from portico.egress import proxy as proxy_module
from portico.egress import proxy_request
from portico.egress.guard import Network
from portico.egress.proxy import EgressProxy, HostPattern
from portico.errors import Forbidden
from portico.settings.settings import Settings
from tests.portico.listeners import Names, OriginServer

GetProxy = Callable[..., EgressProxy]


@pytest.fixture
async def origin() -> AsyncIterator[OriginServer]:
    async with OriginServer() as opened:
        yield opened


@pytest.fixture
async def make_proxy() -> AsyncIterator[GetProxy]:
    made: list[EgressProxy] = []

    def make(*allow: str, only: tuple[str, ...] | None = None, names: Names | None = None) -> EgressProxy:
        made.append(EgressProxy(Network(allow=frozenset(allow)), only=only, resolve=names))
        return made[-1]

    yield make
    for proxy in made:
        await proxy.close()


def credentials(url: str) -> str:
    parts = urlsplit(url)
    return base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()


async def say(url: str, raw: bytes, *, then: bytes = b"", hang_up: bool = True) -> bytes:
    """Raw bytes to the proxy; its whole answer."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(raw.replace(b"TOKEN", credentials(url).encode()))
        answer = await reader.readuntil(b"\r\n\r\n") if then else b""
        writer.write(then)
        if hang_up and not then:
            writer.write_eof()
        return answer + await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


async def connect(url: str, target: str, *more: str, then: bytes = b"") -> bytes:
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", "Proxy-Authorization: Basic TOKEN", *more]
    return await say(url, ("\r\n".join(lines) + "\r\n\r\n").encode(), then=then)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_a_client_gets_through_to_what_was_granted_and_nowhere_else(
    make_proxy: GetProxy, origin: OriginServer
) -> None:
    names = Names(["127.0.0.1"])
    proxy = make_proxy(f"good.example:{origin.port}", names=names)
    async with (
        proxy.grant([f"good.example:{origin.port}"]) as url,
        httpx2.AsyncClient(proxy=url, trust_env=False) as client,
    ):
        answer = await client.get(f"http://good.example:{origin.port}/a?b=c", headers={"X-Mine": "1"})
        assert (answer.status_code, answer.text) == (200, "ok")
        refused = await client.get(f"http://bad.example:{origin.port}/")
        assert refused.status_code == 403
        assert "bad.example" in refused.text
    assert len(origin.visits) == 1
    head = origin.visits[0]
    assert head.startswith("GET /a?b=c HTTP/1.1\r\n")
    assert f"Host: good.example:{origin.port}\r\n" in head
    assert "x-mine: 1" in head.lower()
    assert "proxy-" not in head.lower()
    assert "connection: close" in head.lower()


async def test_a_tunnel_carries_bytes_in_both_directions(make_proxy: GetProxy, origin: OriginServer) -> None:
    proxy = make_proxy(f"127.0.0.1:{origin.port}")
    async with proxy.grant([f"127.0.0.1:{origin.port}"]) as url:
        answer = await connect(url, f"127.0.0.1:{origin.port}", then=b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"ok")


@pytest.mark.parametrize(
    "target",
    [
        "127.0.0.1:443",
        "[::1]:443",
        "[::ffff:127.0.0.1]:443",
        "[::ffff:7f00:1]:80",
        "[64:ff9b::7f00:1]:443",
        "169.254.169.254:80",
        "[fd00:ec2::254]:80",
        "10.0.0.1:443",
        "2130706433:80",
        "0x7f000001:80",
        "0177.0.0.1:80",
        "127.1:80",
        "0:80",
        "localhost:80",
        "LOCALHOST.:80",
    ],
)
async def test_a_grant_for_any_host_is_still_none_for_inner_addresses(
    make_proxy: GetProxy, target: str
) -> None:
    async with make_proxy().grant(["*"]) as url:
        assert status(await connect(url, target)) in (403, 502)
        plain = f"GET http://{target}/ HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic TOKEN\r\n\r\n"
        assert status(await say(url, plain.encode())) in (403, 502)


async def test_a_name_that_changes_its_answer_gains_nothing(
    make_proxy: GetProxy, origin: OriginServer
) -> None:
    names = Names(["127.0.0.1"], ["93.184.216.34"])
    proxy = make_proxy(names=names)
    async with proxy.grant([f"turns.example:{origin.port}"]) as url:
        assert status(await connect(url, f"turns.example:{origin.port}")) == 403
        mixed = Names(["93.184.216.34", "127.0.0.1"])
        async with make_proxy(names=mixed).grant([f"mixed.example:{origin.port}"]) as other:
            assert status(await connect(other, f"mixed.example:{origin.port}")) == 403
    assert names.lookups == 1
    assert origin.visits == []


async def test_a_host_that_the_owner_named_is_not_thereby_allowed_at_home(
    make_proxy: GetProxy, origin: OriginServer
) -> None:
    """`hosts` says what may be reached; only `inner_hosts` takes the check of its address away."""
    named = (f"named.example:{origin.port}",)
    proxy = make_proxy(only=named, names=Names(["127.0.0.1"]))
    async with proxy.grant(named) as url:
        assert status(await connect(url, named[0])) == 403
    assert origin.visits == []


@pytest.mark.parametrize(
    ("granted", "target", "expected"),
    [
        ("example.com", "example.com:443", True),
        ("example.com", "EXAMPLE.com.:443", True),
        ("example.com", "www.example.com:443", False),
        ("example.com", "example.com.evil.example:443", False),
        ("example.com", "notexample.com:443", False),
        ("example.com", "example.com:22", False),
        ("example.com:22", "example.com:22", True),
        ("example.com:22", "example.com:443", False),
        ("*.example.com", "a.b.example.com:80", True),
        ("*.example.com", "example.com:80", False),
        ("*.example.com", "example.com.evil.example:80", False),
        ("*.0.0.1", "127.0.0.1:80", False),
        ("*", "anything.example:443", True),
        ("*", "anything.example:25", False),
        ("[2606:4700::1111]:443", "[2606:4700::1111]:443", True),
    ],
)
def test_which_host_a_grant_means(granted: str, target: str, expected: bool) -> None:
    host, _, port = target.rpartition(":")
    host = proxy_request._host(host)
    assert HostPattern.of(granted).matches(host, int(port)) is expected


@pytest.mark.parametrize("wrong", ["", "a b", "http://x", "x:99:1", "a/b", "u@h", "x:port"])
def test_refuses_a_grant_for_what_is_no_host(wrong: str) -> None:
    with pytest.raises(Forbidden):
        HostPattern.of(wrong)


async def test_local_mode_bounds_every_grant(make_proxy: GetProxy, origin: OriginServer) -> None:
    proxy = make_proxy(f"127.0.0.1:{origin.port}", only=("example.com",))
    async with proxy.grant(["*", f"127.0.0.1:{origin.port}"]) as url:
        assert status(await connect(url, f"127.0.0.1:{origin.port}")) == 403
    assert origin.visits == []
    settings = Settings(tools={"hosts": ["a.example"], "inner_hosts": ["b.example"]})
    bounded = proxy_module.egress_proxy(settings)
    assert [pattern.host for pattern in bounded._only or ()] == ["a.example", "b.example"]
    assert proxy_module.egress_proxy(settings.model_copy(update={"local_only": False}))._only is None


async def test_needs_a_grant_that_is_still_held(make_proxy: GetProxy, origin: OriginServer) -> None:
    proxy = make_proxy(f"127.0.0.1:{origin.port}")
    target = f"127.0.0.1:{origin.port}"
    async with proxy.grant([target]) as url, proxy.grant(["example.com"]) as other:
        for line in (b"", b"Proxy-Authorization: Basic !!\r\n", b"Proxy-Authorization: Bearer TOKEN\r\n"):
            answer = await say(url, f"CONNECT {target} HTTP/1.1\r\n".encode() + line + b"\r\n")
            assert status(answer) == 407
            assert b"Proxy-Authenticate: Basic" in answer
        guessed = base64.b64encode(b"grant:guess").decode()
        line = f"Proxy-Authorization: Basic {guessed}\r\n".encode()
        assert status(await say(url, f"CONNECT {target} HTTP/1.1\r\n".encode() + line + b"\r\n")) == 407
        assert status(await connect(other, target)) == 403
    assert status(await connect(url, target)) == 407
    assert origin.visits == []


async def test_the_end_of_a_grant_cuts_what_is_still_connected(make_proxy: GetProxy) -> None:
    gone = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    proxy = make_proxy(target)
    async with proxy.grant([target]) as url:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        head = f"CONNECT {target} HTTP/1.1\r\nProxy-Authorization: Basic {credentials(url)}\r\n\r\n"
        writer.write(head.encode())
        assert status(await reader.readuntil(b"\r\n\r\n")) == 200
    assert await asyncio.wait_for(_rest(reader), 5) == b""
    await asyncio.wait_for(gone.wait(), 5)
    writer.close()
    server.close()


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n",
        b"GET https://good.example/ HTTP/1.1\r\n\r\n",
        b"GET ftp://good.example/ HTTP/1.1\r\n\r\n",
        b"GET http://good.example@127.0.0.1/ HTTP/1.1\r\n\r\n",
        b"GET http://127.0.0.1#@good.example/ HTTP/1.1\r\n\r\n",
        b"GET http://127.0.0.1\\@good.example/ HTTP/1.1\r\n\r\n",
        b"GET http:///x HTTP/1.1\r\n\r\n",
        b"GET http://[::1%25lo]/ HTTP/1.1\r\n\r\n",
        b"GET http://good.example:99999/ HTTP/1.1\r\n\r\n",
        b"GET http://good.example:-1/ HTTP/1.1\r\n\r\n",
        b"GET http://good.example/ HTTP/2.0\r\n\r\n",
        b"GET  http://good.example/ HTTP/1.1\r\n\r\n",
        b"get http://good.example/ HTTP/1.1\r\n\r\n",
        b"CONNECT good.example HTTP/1.1\r\n\r\n",
        b"CONNECT good.example:0 HTTP/1.1\r\n\r\n",
        b"CONNECT good.example:443/x HTTP/1.1\r\n\r\n",
        b"CONNECT good%2eexample:443 HTTP/1.1\r\n\r\n",
        b"CONNECT good..example:443 HTTP/1.1\r\n\r\n",
        b"CONNECT \xe2\x91\xa0.example:443 HTTP/1.1\r\n\r\n",
        b"GET http://good.example/ HTTP/1.1\nHost: x\r\n\r\n",
        b"GET http://good.example/ HTTP/1.1\r\nA: b\rHost: x\r\n\r\n",
        b"GET http://good.example/ HTTP/1.1\r\nA : b\r\n\r\n",
        b"GET http://good.example/ HTTP/1.1\r\n folded\r\n\r\n",
        b"POST http://good.example/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST http://good.example/ HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST http://good.example/ HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST http://good.example/ HTTP/1.1\r\nContent-Length: +3\r\n\r\n",
        b"GET http://good.example/ HTTP/1.1\r\nProxy-Authorization: a\r\nProxy-Authorization: b\r\n\r\n",
        b"GET http://good.example/ HTTP/1.1\r\nA: " + b"x" * 40_000 + b"\r\n\r\n",
        b"GET http://good.example/ HTTP/1.1",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"\r\n\r\n",
    ],
)
async def test_refuses_what_could_be_read_in_two_ways(make_proxy: GetProxy, raw: bytes) -> None:
    async with make_proxy(names=Names(["127.0.0.1"])).grant(["*"]) as url:
        assert status(await say(url, raw)) == 400


async def test_the_host_header_is_the_address_that_was_checked(
    make_proxy: GetProxy, origin: OriginServer
) -> None:
    target = f"127.0.0.1:{origin.port}"
    raw = (
        f"GET http://{target}/ HTTP/1.1\r\nHost: inner.service\r\nConnection: X-Secret, content-length\r\n"
        "X-Secret: 1\r\nUpgrade: h2c\r\nContent-Length: 0\r\nProxy-Authorization: Basic TOKEN\r\n\r\n"
    )
    async with make_proxy(target).grant([target]) as url:
        assert status(await say(url, raw.encode())) == 200
    head = origin.visits[0].lower()
    assert f"host: {target}\r\n" in head
    assert "content-length: 0" in head
    for gone in ("inner.service", "x-secret", "upgrade", "proxy-authorization"):
        assert gone not in head


async def test_a_second_request_in_the_same_bytes_goes_nowhere(make_proxy: GetProxy) -> None:
    seen: list[bytes] = []

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        with pytest.raises(TimeoutError):
            while True:
                piece = await asyncio.wait_for(reader.read(1000), 0.3)
                if not piece:
                    break
                seen.append(piece)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    auth = "Proxy-Authorization: Basic TOKEN\r\n"
    hidden = f"GET http://{target}/hidden HTTP/1.1\r\n{auth}\r\n"
    bodies = (
        f"Content-Length: 3\r\n{auth}\r\nabc",
        f"Transfer-Encoding: chunked\r\n{auth}\r\n3\r\nabc\r\n0\r\n\r\n",
    )
    async with make_proxy(target).grant([target]) as url:
        for body in bodies:
            seen.clear()
            raw = f"POST http://{target}/ HTTP/1.1\r\n{body}{hidden}"
            assert status(await say(url, raw.encode(), hang_up=False)) == 200
            assert b"abc" in b"".join(seen)
            assert b"hidden" not in b"".join(seen)
    server.close()


async def test_who_says_nothing_is_not_waited_for(
    make_proxy: GetProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_module, "HEAD_TIMEOUT_S", 0.2)
    async with make_proxy().grant(["*"]) as url:
        assert status(await say(url, b"CONNECT a.example:443 HTTP/1.1\r\nX", hang_up=False)) == 408


async def test_one_tool_takes_no_more_than_its_share(
    make_proxy: GetProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_module, "CONNECTIONS_OF_A_GRANT", 1)
    arrived, leave = asyncio.Event(), asyncio.Event()

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await leave.wait()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    proxy = make_proxy(target)
    async with proxy.grant([target]) as url, proxy.grant([target]) as other:
        first = asyncio.create_task(connect(url, target))
        await asyncio.wait_for(arrived.wait(), 5)
        assert status(await connect(url, target)) == 429
        second = asyncio.create_task(connect(other, target))
        leave.set()
        assert (status(await first), status(await second)) == (200, 200)
    server.close()


async def test_a_redirect_is_a_new_question(make_proxy: GetProxy, origin: OriginServer) -> None:
    target = f"127.0.0.1:{origin.port}"
    origin.answer = (
        b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest\r\ncontent-length: 0\r\n\r\n"
    )
    async with (
        make_proxy(target).grant([target]) as url,
        httpx2.AsyncClient(proxy=url, trust_env=False, follow_redirects=True) as client,
    ):
        assert (await client.get(f"http://{target}/")).status_code == 403


async def test_a_tunnel_ends_in_the_servers_own_tls(make_proxy: GetProxy) -> None:
    """What the proxy is asked for and what TLS then names are the same client's words: no certificate, no talk."""
    async with make_proxy(names=Names([])).grant(["*"]) as url:
        with pytest.raises((httpx2.ProxyError, httpx2.ConnectError, ssl.SSLError)):
            async with httpx2.AsyncClient(proxy=url, trust_env=False) as client:
                await client.get("https://no-such.example/")
