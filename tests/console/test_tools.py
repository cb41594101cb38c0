"""Tools on the chat page: a question with buttons, how far a run is, and the picture that it has kept."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.console.conftest import OpenChat
from tests.console.person import ChatPage
from tests.support import RunningStack

pytestmark = pytest.mark.alone

DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
FUNCTION = f'''
"""Draws, slowly."""

import base64
import time

from portico.tool import ToolContext, tool


@tool(effects="write", risk="low", timeout_s=60)
def draw(context: ToolContext, what: str) -> str:
    """Draw a picture.

    Args:
        what: what to draw
    """
    for step in range(1, 5):
        context.progress(f"stroke {{step}} of 4", step / 4)
        time.sleep(0.5)
    context.artifact("dot.png", base64.b64decode("{DOT}"), "image/png")
    return f"Here is {{what}}."
'''

SLOW = '''
"""Sleeps."""

import time

from portico.tool import tool


@tool(effects="none", risk="low")
def nap() -> str:
    """Take a nap."""
    time.sleep(1.5)
    return "Well rested."
'''


@pytest.fixture
def chat(stack: RunningStack, open_chat: OpenChat) -> ChatPage:
    return with_function(
        stack, open_chat("drawing"), FUNCTION, listed="draw – Draw a picture (needs a yes first)"
    )


def with_function(stack: RunningStack, page: ChatPage, text: str, *, listed: str) -> ChatPage:
    stack.home.functions.mkdir(parents=True, exist_ok=True)
    (stack.home.functions / f"{listed.split()[0]}.py").write_text(text)
    for _ in range(20):
        if listed in page.ask("/tools"):
            return page
        page.page.wait_for_timeout(500)
    raise AssertionError("the function was not found")


def test_a_person_says_yes_sees_the_work_and_gets_the_picture(chat: ChatPage) -> None:
    before = chat.replies.count()
    chat.say('/tool draw what="a dot"')
    question = chat.reply(before)
    assert "draw wants to run and needs a yes" in question
    buttons = chat.replies.nth(before).locator("button.choice")
    assert buttons.all_inner_texts() == ["Yes, do it", "No"]
    buttons.first.click()
    working = chat.page.locator(".working")
    expect(working.locator(".doing")).to_contain_text("draw: stroke", timeout=30_000)
    expect(working.locator("progress")).to_have_attribute("value", "0.5", timeout=10_000)
    expect(chat.replies.filter(has_text="Here is a dot.")).to_be_visible(timeout=30_000)
    expect(working).to_have_count(0)
    picture = chat.page.locator(".picture img")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
    chat.page.reload()
    chat.wait_ready()
    expect(chat.page.locator(".picture img")).to_be_visible()
    assert chat.complaints == []


def test_what_was_said_keeps_its_order_when_a_tools_answer_comes_last(
    stack: RunningStack, open_chat: OpenChat
) -> None:
    chat = with_function(stack, open_chat("napping"), SLOW, listed="nap – Take a nap")
    before = chat.replies.count()
    chat.say("/tool nap")
    chat.say("/whoami")
    expect(chat.replies).to_have_count(before + 2, timeout=30_000)
    assert "Well rested." in chat.reply(before + 1)
    assert chat.said[-2:] == ["/tool nap", "/whoami"]
    expect(chat.page.locator(".line.user.kept, .line.user.sending")).to_have_count(0)
    chat.page.reload()
    chat.wait_ready()
    expect(chat.replies).to_have_count(before + 2)
    assert chat.said[-2:] == ["/tool nap", "/whoami"]
