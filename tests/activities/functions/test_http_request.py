"""Requests through the real egress proxy, to real servers on loopback that answer as they are told."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from activities.functions.http_request import http_get, http_request
from portico.egress.guard import Network
from portico.egress.proxy import EgressProxy
from portico.tool import AskAgain, BadParameters, ToolContext, ToolFailed, spec_of

NAMES = {"good.example": "127.0.0.1", "also.example": "127.0.0.1", "inner.example": "10.0.0.1"}


class Host:
    """Answers by path and keeps what it was sent."""

    def __init__(self) -> None:
        self.port = 0
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: dict[str, tuple[str, dict[str, str], bytes]] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = head.strip().split("\r\n")
        headers = {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in lines[1:]}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.seen.append((lines[0], headers, body))
        path = lines[0].split(" ")[1]
        status, more, content = self.answers.get(path, ("404 Not Found", {}, b"nothing here"))
        more = {"Content-Type": "text/plain", "Content-Length": str(len(content)), **more}
        told = "".join(f"{name}: {value}\r\n" for name, value in more.items())
        writer.write(f"HTTP/1.1 {status}\r\n{told}\r\n".encode() + content)
        writer.close()


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    running = Host()
    server = await asyncio.start_server(running.serve, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    yield running
    server.close()


async def _resolve(name: str, _: int) -> list[str]:
    return [NAMES[name]] if name in NAMES else []


@pytest.fixture
async def proxy(host: Host) -> AsyncIterator[EgressProxy]:
    named = frozenset(f"{name}:{host.port}" for name in ("good.example", "also.example"))
    running = EgressProxy(Network(allow=named), resolve=_resolve)
    yield running
    await running.close()


Ask = Callable[..., Any]


@pytest.fixture
async def ask(proxy: EgressProxy, host: Host) -> AsyncIterator[Ask]:
    """Calls a tool as its process would: in a thread, with a grant for good.example and inner.example."""
    granted = [f"good.example:{host.port}", f"inner.example:{host.port}", "inner.example"]
    artifacts: dict[str, bytes] = {}
    async with proxy.grant(granted) as url:
        context = ToolContext(proxy_url=url, keep=lambda name, data, _: artifacts.update({name: data}))

        async def call(tool: Any, path: str, **more: Any) -> Any:
            address = path if "://" in path else f"http://good.example:{host.port}{path}"
            parameters = spec_of(tool).validate({"url": address, **more})
            done = await asyncio.to_thread(tool, context, **parameters)
            return {**done, "artifacts": artifacts}

        yield call


async def test_reads_text_and_json(ask: Ask, host: Host) -> None:
    host.answers["/t?q=1"] = ("200 OK", {}, "grüße".encode())
    host.answers["/j"] = ("200 OK", {"Content-Type": "application/json"}, b'{"a": [1]}')
    text = await ask(http_get, "/t?q=1", headers={"X-Mine": "1"})
    assert (text["status"], text["text"]) == (200, "grüße")
    assert (await ask(http_get, "/j"))["json"] == {"a": [1]}
    assert host.seen[0][1]["x-mine"] == "1"


async def test_an_error_status_is_an_answer(ask: Ask) -> None:
    done = await ask(http_get, "/gone")
    assert (done["status"], done["text"]) == (404, "nothing here")


async def test_what_is_no_text_becomes_an_artifact(ask: Ask, host: Host) -> None:
    host.answers["/a/picture.png"] = ("200 OK", {"Content-Type": "image/png"}, b"\x89PNG\0")
    done = await ask(http_get, "/a/picture.png")
    assert done["artifact"] == "picture.png"
    assert done["artifacts"]["picture.png"] == b"\x89PNG\0"


async def test_sends_text_and_json(ask: Ask, host: Host) -> None:
    host.answers["/p"] = ("201 Created", {}, b"")
    assert (await ask(http_request, "/p", body={"a": 1}))["status"] == 201
    await ask(http_request, "/p", method="PUT", body="words", headers={"Content-Type": "text/x"})
    (first, sent, body), (second, also, words) = host.seen
    assert (first, sent["content-type"], json.loads(body)) == (
        "POST /p HTTP/1.1",
        "application/json",
        {"a": 1},
    )
    assert (second, also["content-type"], words) == ("PUT /p HTTP/1.1", "text/x", b"words")


def test_only_reading_goes_unasked() -> None:
    assert (spec_of(http_get).effects, spec_of(http_get).risk) == ("read", "low")
    assert (spec_of(http_request).effects, spec_of(http_request).risk) == ("write", "medium")
    assert spec_of(http_get).network
    assert spec_of(http_request).network


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://evil.example/", "not among the hosts"),
        ("http://127.0.0.1:{port}/", "not among the hosts"),
        ("http://also.example:{port}/", "not among the hosts"),
        ("http://inner.example/", "not in the public internet"),
        ("https://evil.example/", "not among the hosts"),
        ("https://inner.example:{port}/", "cannot be reached|not among"),
    ],
)
async def test_reaches_nothing_else(ask: Ask, host: Host, url: str, words: str) -> None:
    with pytest.raises(ToolFailed, match=words):
        await ask(http_get, url.format(port=host.port))
    assert host.seen == []


async def test_a_redirect_leads_only_where_a_request_could(ask: Ask, host: Host) -> None:
    for target in ("http://169.254.169.254/latest/meta-data", f"http://also.example:{host.port}/t"):
        host.answers["/r"] = ("302 Found", {"Location": target}, b"")
        with pytest.raises(ToolFailed, match="not among the hosts"):
            await ask(http_get, "/r")
    host.answers["/r"] = ("302 Found", {"Location": "file:///etc/passwd"}, b"")
    with pytest.raises(ToolFailed, match="none of the web"):
        await ask(http_get, "/r")


async def test_follows_redirects_without_going_round_for_ever(ask: Ask, host: Host) -> None:
    host.answers["/r"] = ("303 See Other", {"Location": "/t"}, b"")
    host.answers["/t"] = ("200 OK", {}, b"there")
    done = await ask(http_request, "/r", body="words", headers={"Authorization": "mine"})
    assert done["text"] == "there"
    assert host.seen[1][0] == "GET /t HTTP/1.1"
    assert host.seen[1][1]["authorization"] == "mine"
    assert "content-type" not in host.seen[1][1]
    host.answers["/loop"] = ("307 Temporary Redirect", {"Location": "/loop"}, b"")
    with pytest.raises(ToolFailed, match="more than 5 times"):
        await ask(http_get, "/loop")


async def test_takes_no_secret_to_another_host(proxy: EgressProxy, host: Host) -> None:
    both = [f"good.example:{host.port}", f"also.example:{host.port}"]
    host.answers["/r"] = ("307 Temporary Redirect", {"Location": f"http://also.example:{host.port}/t"}, b"")
    host.answers["/t"] = ("200 OK", {}, b"there")
    async with proxy.grant(both) as url:
        await asyncio.to_thread(
            http_get,
            ToolContext(proxy_url=url),
            f"http://good.example:{host.port}/r",
            {"Authorization": "mine", "X-Mine": "1"},
        )
    assert "authorization" in host.seen[0][1]
    assert "authorization" not in host.seen[1][1]
    assert host.seen[1][1]["x-mine"] == "1"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "x"},
        {"transfer-encoding": "chunked"},
        {"Proxy-Authorization": "x"},
        {"A": "b\r\nC: d"},
        {"A b": "c"},
    ],
)
async def test_sets_no_header_that_steers_the_connection(
    ask: Ask, host: Host, headers: dict[str, str]
) -> None:
    with pytest.raises(AskAgain):
        await ask(http_get, "/t", headers=headers)
    assert host.seen == []


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://good.example/", "good.example", "http://[::1/", "http://\0/"]
)
async def test_refuses_what_is_no_web_address(ask: Ask, url: str) -> None:
    with pytest.raises((AskAgain, BadParameters, ToolFailed)):
        await ask(http_get, url if "://" in url else f"{url}://")


async def test_a_body_that_blows_up_is_given_up(
    ask: Ask, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    import activities.functions.http_request as module

    monkeypatch.setattr(module, "LONGEST_BODY", 1024 * 1024)
    bomb = gzip.compress(bytes(20 * 1024 * 1024))
    host.answers["/bomb"] = ("200 OK", {"Content-Encoding": "gzip"}, bomb)
    with pytest.raises(ToolFailed, match="larger than 1 MiB"):
        await ask(http_get, "/bomb")


async def test_without_a_grant_there_is_no_way_out() -> None:
    with pytest.raises(ToolFailed, match=r"\[tools\] hosts"):
        http_get(ToolContext(), "http://good.example/")
