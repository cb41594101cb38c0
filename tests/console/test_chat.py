"""A person chats: words in, words out, in two languages, on two sizes of screen, in two themes."""

from __future__ import annotations

import pytest
from playwright.sync_api import FilePayload, expect

from tests.console.conftest import OpenChat
from tests.console.person import ChatPage

pytestmark = pytest.mark.alone

PHONE = {"viewport": {"width": 375, "height": 740}, "has_touch": True, "is_mobile": True}
TRIED = {
    "en-US": ["Tokyo", "391", "time", "Hello"],
    "zh-CN": ["东京", "391", "时间", "你好"],
}


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_four_things_to_try_each_work_without_a_model(open_chat: OpenChat, locale: str) -> None:
    for number, expected in enumerate(TRIED[locale]):
        chat = open_chat(f"try-{locale}-{number}", locale=locale)
        expect(chat.page.locator("#suggestions button")).to_have_count(4)
        chat.page.locator("#suggestions button").nth(number).click()
        assert expected in chat.reply(0)
        expect(chat.page.locator("#welcome")).to_be_hidden()


def test_a_reload_shows_what_was_said(open_chat: OpenChat) -> None:
    chat = open_chat("reload")
    chat.ask("What is 17 × 23?")
    chat.ask("Say hello")
    before = chat.page.locator(".bubble").all_inner_texts()
    chat.page.reload()
    chat.wait_ready()
    expect(chat.replies).to_have_count(2)
    assert chat.page.locator(".bubble").all_inner_texts() == before


def test_a_long_conversation_is_shown_from_its_end_and_read_back_to_its_beginning(
    open_chat: OpenChat,
) -> None:
    chat = open_chat("long")
    for number in range(28):
        chat.say(f"What is {number} + 100?")
    expect(chat.replies).to_have_count(28, timeout=60_000)
    chat.page.reload()
    chat.wait_ready()
    expect(chat.page.locator(".line")).to_have_count(50)
    expect(chat.replies.last).to_be_in_viewport()
    chat.page.locator("#earlier").click()
    expect(chat.page.locator(".line")).to_have_count(56)
    assert chat.said == [f"What is {number} + 100?" for number in range(28)]
    expect(chat.page.locator("#earlier")).to_be_hidden()


def test_each_reply_leads_to_its_history(open_chat: OpenChat) -> None:
    """The history UI opens with the person's session, and shows the steps and what they were given."""
    chat = open_chat("story")
    chat.ask("What is 17 × 23?")
    with chat.page.expect_popup() as opened:
        chat.page.locator(".history").first.click()
    story = opened.value
    expect(story.get_by_text("Conversation", exact=True).first).to_be_visible(timeout=20_000)
    # Decoded for the owner: input and summaries are readable here and nowhere else.
    expect(story.get_by_text('"channel"').first).to_be_visible(timeout=20_000)
    expect(story.get_by_text("deliver the reply").first).to_be_visible(timeout=20_000)


def test_conversations_are_listed_and_kept_apart(open_chat: OpenChat) -> None:
    chat = open_chat("apart")
    chat.ask("What is 17 × 31?")
    chat.page.locator("#new").click()
    expect(chat.page.locator("#welcome")).to_be_visible()
    chat.ask("What is 2 + 31?")
    entry = chat.page.locator("#conversations button", has_text="What is 2 + 31?")
    expect(entry).to_have_attribute("aria-current", "page", timeout=10_000)
    chat.page.locator("#conversations button", has_text="What is 17 × 31?").first.click()
    expect(chat.page.locator(".user .said")).to_have_text(["What is 17 × 31?"])
    chat.page.go_back()
    expect(chat.page.locator(".user .said")).to_have_text(["What is 2 + 31?"])


def test_what_one_window_says_the_other_shows(open_chat: OpenChat) -> None:
    one, other = open_chat("windows"), open_chat("windows")
    one.ask("What is 17 × 23?")
    expect(other.page.locator(".user .said")).to_have_text(["What is 17 × 23?"])
    assert "391" in other.reply(0)


def test_enter_sends_and_shift_enter_makes_a_line(open_chat: OpenChat) -> None:
    chat = open_chat("keys")
    chat.page.locator("#text").focus()
    chat.page.keyboard.type("Say")
    chat.page.keyboard.press("Shift+Enter")
    chat.page.keyboard.type("hello")
    chat.page.keyboard.press("Enter")
    chat.reply(0)
    assert chat.said == ["Say\nhello"]
    expect(chat.page.locator("#text")).to_have_value("")


def test_enter_in_an_input_method_sends_nothing(open_chat: OpenChat) -> None:
    chat = open_chat("composing", locale="zh-CN")
    chat.page.locator("#text").focus()
    keyboard = chat.page.context.new_cdp_session(chat.page)
    keyboard.send("Input.imeSetComposition", {"text": "ni hao", "selectionStart": 6, "selectionEnd": 6})
    enter = {"type": "rawKeyDown", "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 229}
    keyboard.send("Input.dispatchKeyEvent", enter)
    expect(chat.page.locator("#text")).to_have_value("ni hao")
    keyboard.send("Input.insertText", {"text": "你好"})
    expect(chat.page.locator("#text")).to_have_value("你好")
    assert chat.said == []
    chat.page.keyboard.press("Enter")
    chat.reply(0)
    assert chat.said == ["你好"]


def test_a_half_written_message_survives_a_reload(open_chat: OpenChat) -> None:
    chat = open_chat("draft")
    chat.page.locator("#text").fill("half a thou")
    chat.page.reload()
    chat.wait_ready()
    expect(chat.page.locator("#text")).to_have_value("half a thou")


def test_the_language_can_be_chosen_and_stays(open_chat: OpenChat) -> None:
    chat = open_chat("language")
    expect(chat.page.locator("#text")).to_have_attribute("placeholder", "Write a message")
    chat.page.locator("#language").click()
    expect(chat.page.locator("#text")).to_have_attribute("placeholder", "输入消息")
    chat.page.reload()
    chat.wait_ready()
    expect(chat.page.locator("html")).to_have_attribute("lang", "zh")
    expect(chat.page.locator("#suggestions button").first).to_have_text("东京现在几点？")


def test_dark_follows_the_system_and_can_be_chosen(open_chat: OpenChat) -> None:
    chat = open_chat("theme", color_scheme="dark")
    assert _brightness(chat) < 60
    chat.page.locator("#theme").click()
    assert _brightness(chat) > 200
    chat.page.reload()
    chat.wait_ready()
    assert _brightness(chat) > 200
    chat.page.locator("#theme").click()
    assert _brightness(chat) < 60


def test_a_phone_shows_everything_without_sideways_scrolling(open_chat: OpenChat) -> None:
    chat = open_chat("phone", **PHONE)
    chat.ask("What can you do? " + "x" * 300)
    chat.ask("What is 17 × 23?")
    assert chat.page.evaluate("document.scrollingElement.scrollWidth") <= 375
    assert chat.page.evaluate("document.getElementById('scroll').scrollWidth") <= 375
    expect(chat.page.locator("#drawer")).to_be_hidden()
    chat.page.locator("#drawer-open").click()
    expect(chat.page.locator("#drawer")).to_be_visible()
    chat.page.keyboard.press("Escape")
    expect(chat.page.locator("#drawer")).to_be_hidden()
    expect(chat.page.locator("#drawer-open")).to_be_focused()


def test_every_control_has_a_name_and_the_keyboard_reaches_it(open_chat: OpenChat) -> None:
    chat = open_chat("names")
    chat.ask("What is 17 × 23?")
    nameless = chat.page.evaluate(
        "[...document.querySelectorAll('#chat button, #chat textarea, #chat a, #chat [role=log]')]"
        ".filter(node => !(node.getAttribute('aria-label') || node.textContent.trim())).map(node => node.id)"
    )
    assert nameless == []
    wanted = {"new", "theme", "language", "sign-out", "attach", "text", "history"}
    reached = set()
    for _ in range(120):
        reached.add(chat.page.evaluate("document.activeElement.id || document.activeElement.className"))
        chat.page.keyboard.press("Tab")
    assert wanted <= reached


def test_a_file_can_be_sent_along_and_one_too_large_is_refused(open_chat: OpenChat) -> None:
    chat = open_chat("files")
    big = FilePayload(name="big.bin", mimeType="x/y", buffer=b"0" * 800_000)
    chat.page.locator("#file").set_input_files(big)
    expect(chat.page.locator("#refused")).to_contain_text("700 KB")
    assert chat.page.locator("#files li").count() == 0
    note = FilePayload(name="note.txt", mimeType="text/plain", buffer=b"remember the milk")
    chat.page.locator("#file").set_input_files(note)
    expect(chat.page.locator("#files li")).to_have_text(["note.txt"])
    chat.ask("Please read this")
    expect(chat.page.locator(".user .chip")).to_have_text(["note.txt"])


def test_signing_out_ends_the_session_and_leaves_nothing_in_the_browser(open_chat: OpenChat) -> None:
    chat = open_chat("leave")
    chat.page.locator("#text").fill("not for others")
    chat.page.locator("#sign-out").click()
    expect(chat.page.get_by_text("portico open").first).to_be_visible()
    assert "not for others" not in str(chat.page.evaluate("JSON.stringify(localStorage)"))


def _brightness(chat: ChatPage) -> float:
    color: str = chat.page.evaluate("getComputedStyle(document.body).backgroundColor")
    parts = [float(part) for part in color[color.index("(") + 1 : -1].split(",")[:3]]
    return sum(parts) / 3
