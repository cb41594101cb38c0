"""The guard against real sockets: a server on 127.0.0.1 that must not be reached, and counts who came."""

from __future__ import annotations

import asyncio
import ssl
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from portico.egress.guard import Network, Resolve, check_address, client, network
from portico.egress.posts import Poster
from portico.errors import Forbidden, Misconfigured
from portico.settings.settings import Settings
from tests.portico.listeners import GuardedClient, Names, OriginServer, Tunnel

INNER = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "169.254.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:7f00:1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "3fff::1",
    "5f00::1",
]
OUTER = [
    "1.1.1.1",
    "8.8.8.8",
    "149.154.167.220",
    "2001:67c:4e8:f004::9",
    "2606:4700::1111",
    "64:ff9b::8.8.8.8",
]


@pytest.fixture
async def origin() -> AsyncIterator[OriginServer]:
    async with OriginServer() as opened:
        yield opened


Asks = Callable[..., AbstractAsyncContextManager[GuardedClient]]


@pytest.fixture(params=["client", "poster"])
def asks(request: pytest.FixtureRequest) -> Asks:
    @asynccontextmanager
    async def opened(
        of: Network | None = None, *, resolve: Resolve | None = None, limits: httpx2.Timeout | None = None
    ) -> AsyncIterator[GuardedClient]:
        limits = limits or httpx2.Timeout(30.0, connect=5.0)
        http: httpx2.AsyncClient | Poster
        if request.param == "client":
            http = client(of, resolve=resolve, timeout=limits)
        else:
            http = Poster(of or Network(), resolve=resolve, timeout=limits)
        try:
            yield GuardedClient(http)
        finally:
            await http.aclose()

    return opened


@pytest.mark.parametrize("address", INNER)
def test_refuses_every_address_that_is_not_in_the_public_internet(address: str) -> None:
    with pytest.raises(Forbidden) as caught:
        check_address(address)
    assert address not in caught.value.message


@pytest.mark.parametrize("address", OUTER)
def test_lets_public_addresses_pass(address: str) -> None:
    assert str(check_address(address)) == str(ip_address(address))


@given(st.ip_addresses())
def test_nothing_that_python_calls_private_passes(address: object) -> None:
    try:
        passed = check_address(str(address))
    except Forbidden:
        return
    assert passed.is_global
    assert not (passed.is_private or passed.is_loopback or passed.is_link_local or passed.is_multicast)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "0.0.0.0", "2130706433", "0x7f.1", "127.1", "[::1]", "[::ffff:127.0.0.1]"],
)
async def test_no_spelling_of_this_machine_is_reached(asks: Asks, origin: OriginServer, host: str) -> None:
    async with asks() as http:
        with pytest.raises((Forbidden, httpx2.ConnectError)):
            await http.get(f"http://{host}:{origin.port}/")
    assert origin.visits == []


async def test_a_name_that_leads_inside_is_refused(asks: Asks, origin: OriginServer) -> None:
    async with asks(resolve=Names(["127.0.0.1"])) as http:
        with pytest.raises(Forbidden):
            await http.get(f"http://inside.example:{origin.port}/")
    assert origin.visits == []


async def test_one_inner_address_among_public_ones_is_refused(asks: Asks, origin: OriginServer) -> None:
    async with asks(resolve=Names(["8.8.8.8", "127.0.0.1"])) as http:
        with pytest.raises(Forbidden):
            await http.get(f"http://mixed.example:{origin.port}/")
    assert origin.visits == []


async def test_a_name_that_changes_its_answer_is_asked_once_and_dialled_as_checked(
    asks: Asks, origin: OriginServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The classic rebinding: public when checked, 127.0.0.1 when dialled."""
    dialled: list[str] = []

    async def watched(loop: object, sock: object, address: tuple[str, int]) -> None:
        dialled.append(address[0])
        raise ConnectionRefusedError("no way out of the tests")

    monkeypatch.setattr(BaseSelectorEventLoop, "sock_connect", watched)
    names = Names(["8.8.8.8"], ["127.0.0.1"])
    async with asks(resolve=names) as http:
        with pytest.raises(httpx2.ConnectError):
            await http.get(f"http://rebinding.example:{origin.port}/")
        assert (dialled, names.lookups) == (["8.8.8.8"], 1)
        with pytest.raises(Forbidden):  # the next connection is checked again
            await http.get(f"http://rebinding.example:{origin.port}/")
    monkeypatch.undo()
    assert dialled == ["8.8.8.8"]
    assert origin.visits == []


async def test_a_redirect_inside_is_refused(origin: OriginServer) -> None:
    async with OriginServer() as other:
        origin.answer = (
            f"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{other.port}/\r\ncontent-length: 0\r\n"
            "connection: close\r\n\r\n"
        ).encode()
        allowed = Network(allow=frozenset({f"127.0.0.1:{origin.port}"}))
        async with client(allowed) as http:
            with pytest.raises(Forbidden):
                await http.get(f"http://127.0.0.1:{origin.port}/", follow_redirects=True)
        assert (len(origin.visits), other.visits) == (1, [])


async def test_redirects_are_not_followed_unless_asked_for(asks: Asks, origin: OriginServer) -> None:
    origin.answer = b"HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    async with asks(Network(allow=frozenset({"127.0.0.1"}))) as http:
        assert (await http.get(f"http://127.0.0.1:{origin.port}/")).status_code == 302


async def test_what_the_owner_configured_is_reached_and_nothing_beside_it(
    asks: Asks, origin: OriginServer
) -> None:
    allowed = network(Settings(), allow=[f"http://127.0.0.1:{origin.port}/v1", ""])
    async with OriginServer() as other, asks(allowed) as http:
        assert (await http.get(f"http://127.0.0.1:{origin.port}/")).text == "ok"
        with pytest.raises(Forbidden):
            await http.get(f"http://127.0.0.1:{other.port}/")
        assert other.visits == []


@pytest.mark.parametrize(
    ("item", "host", "port"),
    [
        ("https://API.Example/x", "api.example", 443),
        ("http://api.example", "api.example", 80),
        ("http://[::1]:8000/", "::1", 8000),
        ("api.example:8443", "API.example", 8443),
        ("api.example", "api.example", 1),
    ],
)
def test_an_allowed_place_is_a_host_and_its_port(item: str, host: str, port: int) -> None:
    allowed = network(Settings(), allow=[item])
    assert allowed.allows(host, port)
    assert not allowed.allows(f"x{host}", port)


async def test_the_next_address_is_tried_when_one_does_not_answer(asks: Asks, origin: OriginServer) -> None:
    allowed = Network(allow=frozenset({"two.example"}))
    async with asks(allowed, resolve=Names(["127.0.0.2", "127.0.0.1"])) as http:
        assert (await http.get(f"http://two.example:{origin.port}/")).text == "ok"


async def test_a_name_without_address_is_no_connection(asks: Asks) -> None:
    async with asks() as http:
        with pytest.raises(httpx2.ConnectError):
            await http.get("http://no-such-host.invalid/")
    async with asks(resolve=Names([])) as http:
        with pytest.raises(httpx2.ConnectError):
            await http.get("http://empty.example/")


async def test_a_resolver_that_hangs_is_a_connect_timeout(asks: Asks) -> None:
    async def hangs(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    async with asks(resolve=hangs, limits=httpx2.Timeout(0.1)) as http:
        with pytest.raises(httpx2.ConnectTimeout):
            await http.get("http://slow.example/")


async def test_no_proxy_of_the_environment_is_used(
    asks: Asks, origin: OriginServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{origin.port}")
    async with asks(resolve=Names(["127.0.0.1"])) as http:
        with pytest.raises(Forbidden):
            await http.get("http://a.example/")
    assert origin.visits == []


# --- TLS -------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Iterator[Path]:
    """A self-signed certificate of safe.example, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "safe.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("safe.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "safe.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    yield path


async def test_the_certificate_is_checked_for_the_name_and_not_for_the_address(
    asks: Asks, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting = ssl.create_default_context(cafile=certificate)
    monkeypatch.setattr(httpx2, "create_ssl_context", lambda **_: trusting)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    allowed = Network(allow=frozenset({"safe.example", "other.example"}))
    async with OriginServer(context) as origin, asks(allowed, resolve=Names(["127.0.0.1"])) as http:
        assert (await http.get(f"https://safe.example:{origin.port}/")).text == "ok"
        with pytest.raises(httpx2.ConnectError):
            await http.get(f"https://other.example:{origin.port}/")
        assert len(origin.visits) == 1


# --- proxy -----------------------------------------------------------------------------------------


async def test_a_proxy_gets_checked_addresses_and_only_the_owners_names(
    asks: Asks, origin: OriginServer
) -> None:
    async with Tunnel(origin) as tunnel:
        through = Network(frozenset({"api.example"}), f"http://me:p%40ss@127.0.0.1:{tunnel.port}")
        async with asks(through, resolve=Names(["8.8.8.8"])) as http:
            assert (await http.get("http://api.example/")).text == "ok"
            assert (await http.get("http://elsewhere.example/")).text == "ok"
        first, second = tunnel.visits
        assert first.startswith("CONNECT api.example:80 HTTP/1.1\r\n")
        assert "Proxy-Authorization: Basic bWU6cEBzcw==" in first
        assert second.startswith("CONNECT 8.8.8.8:80 HTTP/1.1\r\n")


async def test_a_proxy_does_not_open_the_inside_and_is_not_used_for_this_machine(
    asks: Asks, origin: OriginServer
) -> None:
    async with Tunnel(origin) as tunnel:
        through = Network(frozenset({f"127.0.0.1:{origin.port}"}), f"http://127.0.0.1:{tunnel.port}")
        async with asks(through, resolve=Names(["10.0.0.1"])) as http:
            with pytest.raises(Forbidden):
                await http.get("http://inside.example/")
            assert (await http.get(f"http://127.0.0.1:{origin.port}/")).text == "ok"
        assert tunnel.visits == []


async def test_a_refused_tunnel_is_no_connection(asks: Asks, origin: OriginServer) -> None:
    async with Tunnel(origin, status=407) as tunnel:
        through = Network(proxy=f"http://127.0.0.1:{tunnel.port}")
        async with asks(through, resolve=Names(["8.8.8.8"])) as http:
            with pytest.raises(httpx2.ConnectError):
                await http.get("http://elsewhere.example/")
        assert origin.visits == []


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "https://127.0.0.1:1", "127.0.0.1:1"])
def test_a_proxy_of_another_kind_is_a_mistake(proxy: str) -> None:
    with pytest.raises(Misconfigured):
        client(Network(proxy=proxy))
