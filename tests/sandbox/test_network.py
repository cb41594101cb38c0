"""The way out of a sandbox: none by default, and only to what the service allows."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest
from e2b_code_interpreter import Sandbox
from hypothesis import given
from hypothesis import strategies as st

from sandbox.addresses import is_public
from sandbox.allowed import Allowed, Rule, asked_for
from sandbox.proxy import pinned
from sandbox.proxy_request import OutboundRefused
from tests.sandbox.attempts import tried
from tests.sandbox.conftest import Service, start_service, stop_service

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
GET = """import urllib.request as u
try: print(u.urlopen({url!r}, timeout=8).read().decode())
except OSError as e: print('stopped:', e)"""


class Site(BaseHTTPRequestHandler):
    """Says who was asked for and what came."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(b"")

    def do_POST(self) -> None:
        self.answer(self.rfile.read(int(self.headers["content-length"])))

    def answer(self, body: bytes) -> None:
        text = f"{self.command} {self.path} host={self.headers['host']} body={len(body)}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text) + 300_000 * ("large" in self.path)))
        self.end_headers()
        self.wfile.write(text + b"x" * 300_000 * ("large" in self.path))

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def open_service(site: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    hosts = (f"site.example:{site}=127.0.0.1", f"*.named.example:{site}=127.0.0.1", f"localhost:{site}")
    arguments = [word for host in hosts for word in ("--allow-hosts", host)]
    running = start_service(tmp_path_factory.mktemp("network"), "--warm", "0", *arguments)
    yield running
    stop_service(running)


@pytest.fixture(scope="module")
def sandbox(open_service: Service) -> Iterator[Sandbox]:
    made = Sandbox.create(allow_internet_access=True, **open_service.options)
    yield made
    made.kill()


def fetched(sandbox: Sandbox, url: str) -> str:
    done = sandbox.run_code(GET.format(url=url), timeout=20)
    assert done.error is None, done.error
    return "".join(done.logs.stdout).strip()


@pytest.mark.parametrize("asked", [{}, {"allow_internet_access": False}, {"network": {"allow_out": []}}])
def test_nothing_is_open_unless_asked_for(open_service: Service, site: int, asked: dict[str, object]) -> None:
    closed = Sandbox.create(**asked, **open_service.options)  # type: ignore[arg-type]
    try:
        assert fetched(closed, f"http://site.example:{site}/").startswith("stopped:")
        assert closed.run_code("import os; os.environ.get('HTTP_PROXY')").text in (None, "None")
    finally:
        closed.kill()


@tried("open the network by asking for all of it", "the service's own list of hosts")
def test_asking_for_everything_opens_nothing_where_nothing_is_allowed(service: Service, site: int) -> None:
    closed = Sandbox.create(
        allow_internet_access=True, network={"allow_out": ["0.0.0.0/0", "127.0.0.1"]}, **service.options
    )
    try:
        for host in ("127.0.0.1", "localhost", "site.example"):
            assert fetched(closed, f"http://{host}:{site}/").startswith("stopped:")
    finally:
        closed.kill()


@tried("reach a host that is not allowed through the proxy", "the proxy's list of hosts")
@pytest.mark.parametrize(
    "host",
    ["other.example", "127.0.0.1", "localhost", "[::1]", "169.254.169.254", "site.example.evil.example"],
)
def test_another_host_is_refused(sandbox: Sandbox, site: int, host: str) -> None:
    code = f"""import socket
s = socket.create_connection(('127.0.0.1', 3128)); s.sendall(b'GET http://{host}:{site}/ HTTP/1.1\\r\\n\\r\\n')
t = socket.create_connection(('127.0.0.1', 3128)); t.sendall(b'CONNECT {host}:{site} HTTP/1.1\\r\\n\\r\\n')
s.settimeout(8); t.settimeout(8); print(s.recv(99).split()[1], t.recv(99).split()[1])"""
    assert sandbox.run_code(code).logs.stdout == ["b'403' b'403'\n"]


@tried("reach another port of an allowed host", "the proxy's list of ports")
def test_another_port_is_refused(sandbox: Sandbox) -> None:
    assert "403" in fetched(sandbox, "http://site.example:22/")
    assert "403" in fetched(sandbox, "http://site.example/")


def test_an_allowed_host_is_reached(sandbox: Sandbox, site: int) -> None:
    assert (
        fetched(sandbox, f"http://site.example:{site}/a?b=c") == f"GET /a?b=c host=site.example:{site} body=0"
    )
    assert "host=a.named.example" in fetched(sandbox, f"http://a.named.example:{site}/")
    assert len(fetched(sandbox, f"http://site.example:{site}/large")) > 300_000


def test_a_body_is_sent(sandbox: Sandbox, site: int) -> None:
    code = f"import urllib.request as u; u.urlopen('http://site.example:{site}/', b'x' * 600_000).read().decode()"

    assert str(sandbox.run_code(code).text).endswith("body=600000")


def test_a_tunnel_is_opened(sandbox: Sandbox, site: int) -> None:
    code = f"""import http.client
c = http.client.HTTPConnection('127.0.0.1', 3128); c.set_tunnel('site.example', {site})
c.request('GET', '/'); c.getresponse().read().decode()"""

    assert f"host=site.example:{site}" in str(sandbox.run_code(code).text)


@tried(
    "smuggle a second request or another host through the proxy",
    "headers written again, one request for each connection",
)
def test_javascript_and_commands_use_it(sandbox: Sandbox, site: int) -> None:
    said = sandbox.run_code(
        f"await (await fetch('http://site.example:{site}/js')).text()", language="js", timeout=20
    )
    assert "GET /js" in str(said.text)
    ran = sandbox.commands.run(
        f"python -c \"import urllib.request as u; print(u.urlopen('http://site.example:{site}/').status)\""
    )
    assert ran.stdout == "200\n"


@tried(
    "smuggle a second request or another host through the proxy",
    "headers written again, one request a connection",
)
def test_the_headers_of_a_request_name_no_other_host(sandbox: Sandbox, site: int) -> None:
    code = f"""import socket
s = socket.create_connection(('127.0.0.1', 3128)); s.settimeout(8)
s.sendall(b'GET http://site.example:{site}/ HTTP/1.1\\r\\nHost: other.example\\r\\n\\r\\n')
s.sendall(b'GET / HTTP/1.1\\r\\nHost: second.example\\r\\n\\r\\n')
got = b''
while data := s.recv(9999): got += data
got.count(b'HTTP/1.1 200'), b'host=site.example' in got, b'second' in got"""

    assert sandbox.run_code(code, timeout=20).text == "(1, True, False)"


@pytest.mark.parametrize(
    "request_",
    [
        r"\x00\x01\x02\r\n\r\n",
        r"GET / HTTP/1.1\r\n\r\n",
        r"GET ftp://site.example/ HTTP/1.1\r\n\r\n",
        r"CONNECT site.example HTTP/1.1\r\n\r\n",
        r"CONNECT user@site.example:443 HTTP/1.1\r\n\r\n",
        r"POST http://site.example/ HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        r"POST http://site.example/ HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        r"POST http://site.example/ HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        r"GET http://site.example/ HTTP/1.1\r\na: b\nhost: other.example\r\n\r\n",
        r"GET http://site.example/ HTTP/1.1\r\na: b\r\n folded: c\r\n\r\n",
    ],
)
def test_a_malformed_request_is_refused(sandbox: Sandbox, request_: str) -> None:
    code = f"""import socket
s = socket.create_connection(('127.0.0.1', 3128)); s.settimeout(15); s.sendall(b'{request_}')
s.recv(20).split()[1][:1]"""

    assert sandbox.run_code(code, timeout=25).text == "b'4'"


def test_a_sandbox_asks_for_less_and_changes_its_mind(open_service: Service, site: int) -> None:
    narrow = Sandbox.create(network={"allow_out": ["a.named.example"]}, **open_service.options)
    try:
        assert "403" in fetched(narrow, f"http://site.example:{site}/")
        assert "200" not in fetched(narrow, f"http://b.named.example:{site}/")
        assert "GET /" in fetched(narrow, f"http://a.named.example:{site}/")
        narrow.update_network({"allow_out": ["site.example"]})
        assert "GET /" in fetched(narrow, f"http://site.example:{site}/")
        assert "403" in fetched(narrow, f"http://a.named.example:{site}/")
        (fork,) = narrow.fork()
        assert isinstance(fork, Sandbox)
        assert "GET /" in fetched(fork, f"http://site.example:{site}/")
        fork.kill()
        narrow.pause()
        again = Sandbox.connect(narrow.sandbox_id, **open_service.options)
        assert "GET /" in fetched(again, f"http://site.example:{site}/")
    finally:
        narrow.kill()


MALFORMED = [[], {"allowOut": "x"}, {"allowOut": [1]}, {"denyOut": {}}, {"allowOut": ["x"] * 300}]


@pytest.mark.parametrize("network", MALFORMED)
def test_a_malformed_network_is_refused(service: Service, network: object) -> None:
    answer = httpx2.post(
        f"{service.url}/v2/sandboxes", json={"network": network}, headers={"x-api-key": service.key}
    )
    assert answer.status_code == 400


@tried(
    "reach private addresses by a name that leads there",
    "every address of the name is checked, and one is kept",
)
@tried(
    "reach private addresses by a name that leads there",
    "every address of the name is checked, and one is kept",
)
@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1",
        "64:ff9b::7f00:1", "2002:7f00:1::1",
    ],
)  # fmt: skip
async def test_a_name_with_an_address_that_is_not_public_is_refused(address: str) -> None:
    allowed = Allowed((Rule("rebound.example"),), ("*",))

    async def resolve(host: str, port: int) -> list[str]:
        return ["93.184.215.14", address]

    assert not is_public(ipaddress.ip_address(address))
    with pytest.raises(OutboundRefused, match="not public"):
        await pinned(allowed, "rebound.example", 443, resolve)


async def test_a_name_is_looked_up_once_and_kept_to_its_address() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["93.184.215.14"]

    assert await pinned(Allowed((Rule("a.example"),), ("*",)), "a.example", 443, resolve) == "93.184.215.14"


@given(st.text(max_size=40))
def test_a_rule_is_understood_or_refused(text: str) -> None:
    try:
        rule = Rule.parse(text)
    except ValueError:
        return
    assert not rule.covers("", 443)


@given(
    st.dictionaries(st.sampled_from(["allowOut", "denyOut", "x"]), st.lists(st.text(max_size=12), max_size=3))
)
def test_no_request_opens_what_no_rule_allows(network: dict[str, list[str]]) -> None:
    try:
        allowed = asked_for({"network": network, "allow_internet_access": True}, (Rule("only.example"),))
    except ValueError:
        return
    for host in ("127.0.0.1", "other.example", "xonly.example", "only.example.x", ""):
        assert allowed.rule_for(host, 443) is None
    assert allowed.rule_for("only.example", 22) is None
