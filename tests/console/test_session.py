"""Without a session nothing is shown; the console shadows none of the edge's routes."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest
from playwright.sync_api import BrowserContext, expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.console.conftest import OpenChat, login_path
from tests.support import RunningStack

pytestmark = pytest.mark.alone


def test_without_a_session_the_page_says_how_to_get_one(
    stack: RunningStack, make_context: Callable[..., BrowserContext]
) -> None:
    page = make_context().new_page()
    response = page.goto(stack.url)
    assert response is not None and response.status == 401
    expect(page.get_by_text("portico open").first).to_be_visible()
    assert page.locator("#chat, #log, textarea").count() == 0
    assert "unsafe" not in response.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/console/", "/console/nosuch", "/v1/conversations", "/temporal/"])
def test_without_a_session_nothing_is_behind_the_page(stack: RunningStack, path: str) -> None:
    response = httpx2.get(stack.url + path, follow_redirects=False)
    assert response.status_code == 401


def test_without_a_session_no_payload_is_decoded(stack: RunningStack) -> None:
    response = httpx2.post(stack.url + "/codec/decode", json={"payloads": []})
    assert response.status_code == 401


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_without_a_session_no_method_learns_of_a_page(stack: RunningStack, method: str) -> None:
    response = httpx2.request(method, stack.url + "/console/nosuch")
    assert response.status_code == 401
    assert "portico open" in response.text


@pytest.mark.parametrize("path", ["/", "/console/", "/console/nosuch", "/console/static/chat.js"])
def test_without_a_session_no_socket_of_the_console_opens(stack: RunningStack, path: str) -> None:
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(stack.url.replace("http", "ws", 1) + path, proxy=None),
    ):
        pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("path", ["/", "/console/", "/console/nosuch"])
def test_a_forged_session_opens_no_page(stack: RunningStack, path: str) -> None:
    forged = httpx2.get(stack.url + path, headers={"cookie": "portico_session=forged"})
    assert forged.status_code == 401
    assert "portico open" in forged.text


def test_another_site_cannot_use_the_session(stack: RunningStack) -> None:
    with httpx2.Client() as client:
        client.get(stack.url + login_path(stack))
        assert client.get(stack.url + "/").status_code == 200
        foreign = client.get(stack.url + "/", headers={"origin": "https://evil.example"})
    assert foreign.status_code == 401


def test_a_link_on_another_site_still_leads_in(
    stack: RunningStack, make_context: Callable[..., BrowserContext]
) -> None:
    """The cookie is SameSite=Strict: the first request has none, the page itself tries once more."""
    context = make_context()
    page = context.new_page()
    page.goto(stack.url + login_path(stack))
    elsewhere = stack.url.replace("127.0.0.1", "localhost")
    page.route(f"{elsewhere}/mail", lambda route: route.fulfill(body=f"<a href='{stack.url}/'>chat</a>"))
    page.goto(f"{elsewhere}/mail")
    page.get_by_text("chat").click()
    expect(page.locator("html[data-ready]")).to_be_attached(timeout=15_000)


def test_the_page_loads_nothing_from_outside_and_breaks_no_rule_of_its_own(open_chat: OpenChat) -> None:
    chat = open_chat("assets")
    chat.ask("What is 17 × 23?")
    host = chat.url.removeprefix("http://")
    outside = [url for url in chat.asked if url.partition("://")[2].partition("/")[0] != host]
    assert outside == []
    assert len(chat.asked) > 10
    assert chat.complaints == []


def test_nothing_inline_runs(open_chat: OpenChat) -> None:
    chat = open_chat("policy")
    response = chat.page.reload()
    assert response is not None
    policy = response.headers["content-security-policy"]
    assert "unsafe" not in policy and "nonce" not in policy
    chat.wait_ready()
    chat.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))"
    )
    assert chat.page.evaluate("window.ran") is None
    assert any("Content Security Policy" in line for line in chat.complaints)


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_the_page_paints_without_scripts(
    stack: RunningStack, make_context: Callable[..., BrowserContext], locale: str
) -> None:
    context = make_context(locale=locale, java_script_enabled=False)
    page = context.new_page()
    page.goto(stack.url + login_path(stack))
    expect(page.locator("#text")).to_be_visible()
    expect(page.get_by_role("heading", name="Portico")).to_be_visible()
    # Buttons whose icon a script would add are hidden instead of shown empty.
    expect(page.locator("#send")).to_be_hidden()
    # Chromium parses <noscript> as text while only the execution of scripts is switched off.
    explained = page.locator("noscript").text_content() or ""
    assert "portico send" in explained and "JavaScript。" in explained


def test_a_forwarded_prefix_does_not_reach_the_page(stack: RunningStack) -> None:
    with httpx2.Client() as client:
        client.get(stack.url + login_path(stack))
        page = client.get(stack.url + "/", headers={"x-forwarded-prefix": "/evil"})
    assert page.status_code == 200 and "evil" not in page.text


def test_a_page_that_does_not_exist_is_not_found_with_a_session(stack: RunningStack) -> None:
    with httpx2.Client() as client:
        client.get(stack.url + login_path(stack))
        assert client.get(stack.url + "/console/nosuch").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nosuch", 404),
        ("GET", "/v1/messages", 405),
        ("POST", "/", 405),
        ("GET", "/webhooks/nosuch", 404),
        ("GET", "/healthz", 200),
        ("DELETE", "/healthz", 405),
    ],
)
def test_the_console_answers_for_no_route_of_the_edge(
    stack: RunningStack, method: str, path: str, status: int
) -> None:
    response = httpx2.request(method, stack.url + path)
    assert response.status_code == status
    assert "html" not in response.headers.get("content-type", "")
