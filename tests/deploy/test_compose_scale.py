"""Several workers and several edges: each works, a person stays with one edge, and the live chat crosses them."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookies import SimpleCookie
from itertools import count

import pytest
from playwright.sync_api import BrowserContext, sync_playwright
from websockets.sync.client import ClientConnection, connect

from tests.console.conftest import chromium
from tests.console.person import ChatPage
from tests.deploy.deployment import SITE, SNI, Deployment
from tests.fakes.telegram import FakeTelegram

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(2400)]
COOKIE = "portico_edge"
STOP_S = "20"
SEEN_WITHIN_S = 120
PEOPLE = FakeTelegram()
CHATS = count(int(time.time()) % 100_000 * 100 + 50)


@pytest.fixture(scope="module")
def scaled(deployment: Deployment) -> Iterator[Deployment]:
    deployment.up("--scale", "worker=3", "--scale", "api=2")
    yield deployment
    deployment.up()


@pytest.fixture(scope="module")
def edges(scaled: Deployment) -> tuple[str, str]:
    """The two values of Caddy's cookie, one for each edge. It looks for new ones every five seconds."""
    found: list[str] = []
    ends = time.monotonic() + 60
    while len(found) < 2:
        assert time.monotonic() < ends, f"only {found} of two edges are asked\n{scaled.state()}"
        with scaled.client() as client:
            client.get("/healthz", extensions=SNI)
            value = client.cookies.get(COOKIE)
        if value and value not in found:
            found.append(value)
        time.sleep(0.3)
    return found[0], found[1]


def test_each_of_three_workers_does_the_work(scaled: Deployment) -> None:
    workers = scaled.containers("worker")
    assert len(workers) == 3
    for one in workers:
        others = [worker for worker in workers if worker != one]
        scaled.docker.run("stop", "-t", STOP_S, *others)
        try:
            chat = next(CHATS)
            assert scaled.webhook(PEOPLE.text("what is 11 * 11?", chat=chat)) == 200
            assert scaled.told(chat) == ["11 × 11 = 121"]
        finally:
            scaled.docker.run("start", *others)


def test_a_person_stays_with_one_edge(scaled: Deployment, edges: tuple[str, str]) -> None:
    for edge in edges:
        with scaled.client() as client:
            client.cookies.set(COOKIE, edge)
            for _ in range(5):
                answer = client.get("/healthz", extensions=SNI)
                assert answer.status_code == 200
                given = SimpleCookie(answer.headers.get("set-cookie", "")).get(COOKIE)
                assert given is None or given.value == edge


def test_the_live_chat_crosses_edges(scaled: Deployment, edges: tuple[str, str]) -> None:
    with chat_socket(scaled, edges[0]) as here, chat_socket(scaled, edges[1]) as there:
        text = {"type": "message", "id": f"crossing-{time.time_ns()}", "text": "what is 13 * 13?"}
        here.send(json.dumps(text))
        for one in (there, here):
            assert "13 × 13 = 169" in reply_of(one)


def test_the_page_works_with_several_edges(scaled: Deployment, edges: tuple[str, str]) -> None:
    """Its state lies in the process that served it: each browser's requests and socket must meet the same one."""
    with sync_playwright() as playwright:
        rule = f"--host-resolver-rules=MAP {SITE} 127.0.0.1"
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", rule])
        for edge in edges:
            context = browser.new_context(ignore_https_errors=True, locale="en-US")
            _prefer(context, edge)
            page = ChatPage(context.new_page(), f"https://{SITE}:{scaled.port}")
            page.page.goto(page.url + scaled.call("POST", "/v1/login-links")["path"])
            page.enter(f"page-{edge[:8]}")
            assert "17 × 17 = 289" in page.ask("what is 17 * 17?")
            assert {cookie["value"] for cookie in context.cookies() if cookie["name"] == COOKIE} == {edge}
            context.close()
        browser.close()


def test_an_edge_that_is_gone_is_left(scaled: Deployment, edges: tuple[str, str]) -> None:
    """Its people are given to the other one, and keep what they had: it lies in the database."""
    before = scaled.lines()
    gone = scaled.containers("api")[0]
    scaled.docker.run("stop", "-t", STOP_S, gone)
    try:
        for edge in edges:
            with scaled.client() as client:
                client.cookies.set(COOKIE, edge)
                path = "/v1/conversations/main/messages?limit=200"
                assert client.get(path, extensions=SNI).json() == before
    finally:
        scaled.docker.run("start", gone)


@contextmanager
def chat_socket(deployment: Deployment, edge: str) -> Iterator[ClientConnection]:
    headers = {"Authorization": f"Bearer {deployment.key}", "Cookie": f"{COOKIE}={edge}"}
    with connect(
        f"wss://{SITE}:{deployment.port}/v1/chat",
        sock=socket.create_connection(("127.0.0.1", deployment.port)),
        ssl=deployment.context(),
        server_hostname=SITE,
        additional_headers=headers,
        proxy=None,
    ) as opened:
        opened.send(json.dumps({"type": "hello", "after": 0, "conversation": "crossing"}))
        while json.loads(opened.recv(timeout=30))["type"] != "hello":
            pass
        yield opened


def reply_of(opened: ClientConnection) -> str:
    while True:
        said = json.loads(opened.recv(timeout=SEEN_WITHIN_S))
        if said["type"] == "reply":
            return "\n".join(part.get("text", "") for part in said["parts"])


def _prefer(context: BrowserContext, edge: str) -> None:
    cookie = {"name": COOKIE, "value": edge, "domain": SITE, "path": "/", "secure": True}
    context.add_cookies([cookie])  # type: ignore[list-item]
