"""A real browser before the real stack."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.console.person import ChatPage
from tests.support import RunningStack

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OpenChat = Callable[..., ChatPage]


@pytest.fixture(
    scope="module"
)  # Playwright's loop runs as long as this does, and other tests have loops of their own
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Chromium's own sandbox needs a user that is not root; what it opens here is ours alone.
        running = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def make_context(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    made: list[BrowserContext] = []

    def make(**options: Any) -> BrowserContext:
        options = {"locale": "en-US", "viewport": {"width": 1180, "height": 780}} | options
        made.append(browser.new_context(**options))
        return made[-1]

    yield make
    for context in made:
        context.close()


@pytest.fixture
def open_chat(stack: RunningStack, make_context: Callable[..., BrowserContext]) -> OpenChat:
    """Sign in as the owner and open a conversation: `open_chat("name", locale="zh-CN")`."""

    def opened(name: str, *, on: RunningStack = stack, **options: Any) -> ChatPage:
        chat = ChatPage(make_context(**options).new_page(), on.url)
        chat.page.goto(on.url + login_path(on))
        chat.enter(name)
        return chat

    return opened


def chromium() -> str:
    """The machine's own browser; what Playwright would fetch is not needed."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, "there is no Chromium; `make setup` installs it"
    return found


def login_path(stack: RunningStack) -> str:
    key = stack.home.cli_key.read_text().strip()
    request = urllib.request.Request(
        f"{stack.url}/v1/login-links", method="POST", headers={"Authorization": f"Bearer {key}"}
    )
    with urllib.request.urlopen(request) as response:
        path: str = json.load(response)["path"]
    return path
