"""A model server is found: the page offers it, one click uses it, and the model answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from tests.conftest import MakeStack
from tests.console.conftest import OpenChat
from tests.console.person import ChatPage
from tests.fakes.openai import FakeOpenAI
from tests.support import RunningStack

pytestmark = pytest.mark.alone

QUESTION = "Write me a poem about doors, please"


@pytest.fixture
def ollama() -> Iterator[FakeOpenAI]:
    models = ["llama3:latest", "llama3", "b", "c", "d", "e"]
    with FakeOpenAI(models=models, owned_by="library") as running:
        yield running


@pytest.fixture
def beside(make_stack: MakeStack, ollama: FakeOpenAI) -> RunningStack:
    return make_stack(settings=f"[models]\nports = [{ollama.port}]\n")


def card(chat: ChatPage) -> Locator:
    return chat.page.locator("#offer")


def test_a_found_model_is_used_after_one_click_and_not_before(
    beside: RunningStack, ollama: FakeOpenAI, open_chat: OpenChat
) -> None:
    chat = open_chat("poem", on=beside)
    expect(card(chat)).to_contain_text("A model server was found on this machine")
    expect(card(chat).locator(".take")).to_have_count(3)
    chat.page.get_by_role("button", name="More…").click()
    expect(card(chat).locator(".take")).to_have_count(5)
    chat.page.locator("#language").click()
    expect(card(chat)).to_contain_text("在这台机器上发现了模型服务")
    expect(card(chat).locator(".take").first).to_have_text("使用 llama3（Ollama）")
    chat.page.locator("#language").click()

    # What needs no model is answered without one, and nothing is offered below it.
    chat.ask("What is 17 × 23?")
    expect(card(chat)).to_be_hidden()
    chat.ask(QUESTION)
    expect(card(chat)).to_be_in_viewport()
    assert ollama.asked == []
    chat.page.reload()
    chat.wait_ready()
    use = chat.page.get_by_role("button", name="Use llama3 (Ollama)")
    expect(use).to_be_visible()

    use.click()
    expect(card(chat)).to_have_text("llama3 (Ollama) answers free text from your next message on.")
    ollama.say("Doors ", "open.")
    assert chat.ask(QUESTION) == "Doors open."
    expect(card(chat)).to_be_hidden()
    chat.page.locator("#new").click()
    expect(chat.page.locator("#welcome")).to_be_visible()
    expect(card(chat)).to_be_hidden()
    assert chat.complaints == []


def test_a_server_that_has_gone_is_told_and_not_now_is_remembered(
    beside: RunningStack, ollama: FakeOpenAI, open_chat: OpenChat
) -> None:
    chat = open_chat("gone", on=beside)
    expect(card(chat)).to_be_visible()
    ollama.models = ["other"]
    chat.page.get_by_role("button", name="Use llama3 (Ollama)").click()
    expect(card(chat)).to_contain_text("llama3 does not answer any more")
    assert "llm" not in beside.home.settings.read_text()

    # Back from the terminal where a server was started.
    chat.page.evaluate("dispatchEvent(new Event('focus'))")
    expect(chat.page.get_by_role("button", name="Use other (Ollama)")).to_be_visible()
    chat.page.get_by_role("button", name="Not now").click()
    expect(card(chat)).to_be_hidden()
    chat.page.reload()
    chat.wait_ready()
    chat.page.wait_for_load_state("networkidle")
    expect(card(chat)).to_be_hidden()


def test_the_first_page_of_a_phone_begins_at_its_top(beside: RunningStack, open_chat: OpenChat) -> None:
    chat = open_chat(
        "phone", on=beside, viewport={"width": 375, "height": 740}, has_touch=True, is_mobile=True
    )
    expect(card(chat)).to_be_visible()
    expect(chat.page.locator("#welcome h2")).to_be_in_viewport()
    assert chat.page.evaluate("document.getElementById('scroll').scrollWidth") <= 375
    chat.page.get_by_role("button", name="Not now").click()
    expect(card(chat)).to_be_hidden()


def test_nothing_is_offered_to_who_may_not_use_it(
    beside: RunningStack, ollama: FakeOpenAI, open_chat: OpenChat
) -> None:
    made = beside.run("keys", "create", "somebody", "--role", "member")
    key = made.stdout.split()[-1]
    chat = open_chat("member", on=beside)
    expect(card(chat)).to_be_visible()  # for the owner, who opened it
    link = chat.page.request.post(
        f"{beside.url}/v1/login-links", headers={"Authorization": f"Bearer {key}", "Cookie": ""}
    ).json()["path"]
    chat.page.goto(beside.url + link)
    chat.enter("member")
    assert chat.page.request.get(f"{beside.url}/v1/me").json()["role"] == "member"
    chat.asked.clear()
    assert "portico models use" in chat.ask(QUESTION)
    chat.page.wait_for_load_state("networkidle")
    expect(card(chat)).to_be_hidden()
    assert not [url for url in chat.asked if "/v1/models" in url]
