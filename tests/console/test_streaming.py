"""A model writes: the page shows it while it comes, and the person can stop it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.conftest import MakeStack
from tests.console.conftest import OpenChat
from tests.console.person import ChatPage
from tests.fakes.openai import FakeOpenAI

pytestmark = pytest.mark.alone

ROUTE = """
[llm.routes.test]
kind = "openai"
base_url = "{base_url}"
model = "tiny"
locality = "local"
"""
QUESTION = "Write me a poem about doors, please"


@pytest.fixture
def model() -> Iterator[FakeOpenAI]:
    with FakeOpenAI(models=["tiny"]) as running:
        yield running


@pytest.fixture
def chat(make_stack: MakeStack, model: FakeOpenAI, open_chat: OpenChat) -> ChatPage:
    stack = make_stack(settings=ROUTE.format(base_url=model.base_url))
    return open_chat("poem", on=stack)


def test_a_reply_is_seen_while_it_is_written_and_can_be_stopped(model: FakeOpenAI, chat: ChatPage) -> None:
    model.say("Doors ", "**open", "**, 世界🚪", " and close.", pause_s=0.7)
    chat.say(QUESTION)
    draft = chat.page.locator(".draft .markdown")
    expect(draft).to_have_text("Doors open, 世界🚪", timeout=30_000)
    expect(chat.page.locator("#stop")).to_be_visible()
    assert chat.reply(0) == "Doors open, 世界🚪 and close."
    expect(chat.page.locator(".draft")).to_have_count(0)
    expect(chat.page.locator("#stop")).to_be_hidden()

    model.say(*["on and "] * 200, pause_s=0.2)
    chat.say("Write me a very long poem about windows, please")
    expect(chat.page.locator(".draft .markdown")).to_contain_text("on and on", timeout=30_000)
    chat.page.locator("#stop").click()
    expect(chat.page.locator(".draft")).to_have_count(0, timeout=15_000)
    expect(chat.page.locator("#stop")).to_be_hidden()
    model.wait_until(lambda: model.open_streams == 0, what="the stream to be broken off")

    chat.page.reload()
    chat.wait_ready()
    expect(chat.replies.first).to_be_visible()
    expect(chat.page.locator("#stop")).to_be_hidden()
    expect(chat.page.locator(".draft")).to_have_count(0)
    assert chat.said[:2] == [QUESTION, "Write me a very long poem about windows, please"]
