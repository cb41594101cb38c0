"""Whatever ends in the middle of a conversation, each message is there once and answered once."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest
from playwright.sync_api import WebSocketRoute, expect

from tests.console.conftest import OpenChat
from tests.console.person import ChatPage
from tests.support import RunningStack

pytestmark = pytest.mark.alone


def test_the_api_killed_in_the_middle_loses_and_doubles_nothing(
    stack: RunningStack, open_chat: OpenChat
) -> None:
    chat = open_chat("killed")
    chat.ask("What is 1 + 1?")
    chat.say("What is 2 + 2?")
    stack.kill("api")
    chat.say("What is 3 + 3?")
    chat.say("What is 4 + 4?")
    stack.wait_ready("api")
    expect(chat.replies).to_have_count(4, timeout=30_000)
    _each_once(chat, "killed", ["1 + 1", "2 + 2", "3 + 3", "4 + 4"])


def test_messages_written_while_the_api_is_away_survive_a_reload(
    stack: RunningStack, open_chat: OpenChat
) -> None:
    chat = open_chat("away")
    chat.ask("What is 1 + 1?")
    chat.page.context.set_offline(True)
    pid = stack.pid("api")
    stack.kill("api")
    expect(chat.page.locator("#state")).not_to_be_empty(timeout=10_000)
    chat.say("What is 5 + 5?")
    expect(chat.page.locator(".user.kept, .user.sending")).to_have_count(1)
    stack.wait_ready("api")
    assert stack.pid("api") != pid
    chat.page.context.set_offline(False)
    chat.page.reload()
    chat.wait_ready()
    expect(chat.replies).to_have_count(2, timeout=30_000)
    _each_once(chat, "away", ["1 + 1", "5 + 5"])
    expect(chat.page.locator("#state")).to_be_empty()


def test_the_worker_killed_in_the_middle_delays_and_loses_nothing(
    stack: RunningStack, open_chat: OpenChat
) -> None:
    chat = open_chat("worker")
    chat.ask("What is 1 + 1?")
    chat.say("What is 6 + 6?")
    stack.kill("worker")
    chat.say("What is 7 + 7?")
    stack.wait_ready("worker", timeout_s=60)
    expect(chat.replies).to_have_count(3, timeout=60_000)
    _each_once(chat, "worker", ["1 + 1", "6 + 6", "7 + 7"])


def test_what_cannot_be_stored_now_is_kept_and_stored_later(stack: RunningStack, open_chat: OpenChat) -> None:
    chat = open_chat("engine")
    chat.ask("What is 1 + 1?")
    stack.kill("temporal")
    chat.say("What is 8 + 8?")
    chat.say("What is 9 + 9?")
    stack.wait_ready("temporal", timeout_s=60)
    expect(chat.replies).to_have_count(3, timeout=60_000)
    _each_once(chat, "engine", ["1 + 1", "8 + 8", "9 + 9"])


def test_words_whose_acknowledgement_comes_after_their_reply_stand_before_it(
    open_chat: OpenChat,
) -> None:
    chat = open_chat("overtaken")
    held: list[str | bytes] = []
    """The first acknowledgement, and the reply that it is let through after."""

    def relay(page_side: WebSocketRoute) -> None:
        def pass_on(frame: str | bytes) -> None:
            kind = json.loads(frame)["type"]
            if kind == "ack" and not held:
                held.append(frame)
                return
            page_side.send(frame)
            if kind == "reply" and len(held) == 1:
                held.append(frame)
                page_side.send(held[0])

        page_side.connect_to_server().on_message(pass_on)

    chat.page.route_web_socket("**/v1/chat", relay)
    chat.page.reload()
    chat.wait_ready()
    # What the edge remembers would put all in order; here it comes too late to.
    chat.page.route("**/v1/conversations/*/messages*", lambda route: None)
    chat.say("What is 2 + 3?")
    chat.say("What is 4 + 5?")
    expect(chat.replies).to_have_count(2, timeout=30_000)
    lines = chat.page.locator(".line.user .said, .line.reply:not(.draft) .markdown").all_inner_texts()
    assert lines == ["What is 2 + 3?", "2 + 3 = 5", "What is 4 + 5?", "4 + 5 = 9"]
    chat.page.unroute_all(behavior="ignoreErrors")


@pytest.mark.long
def test_a_part_that_does_not_answer_is_told_after_twenty_seconds(
    stack: RunningStack, open_chat: OpenChat
) -> None:
    chat = open_chat("waiting")
    chat.ask("What is 1 + 1?")
    worker = stack.pid("worker")
    os.kill(worker, signal.SIGSTOP)
    try:
        chat.say("What is 8 + 8?")
        expect(chat.page.locator("#waiting")).to_be_visible(timeout=30_000)
    finally:
        os.kill(worker, signal.SIGCONT)
    assert "16" in chat.reply(1)
    expect(chat.page.locator("#waiting")).to_be_hidden()


def _each_once(chat: ChatPage, name: str, sums: list[str]) -> None:
    said = [f"What is {one}?" for one in sums]
    answers = [str(sum(map(int, one.split(" + ")))) for one in sums]
    expect(chat.page.locator(".line.user .said")).to_have_text(said)
    chat.page.reload()
    chat.wait_ready()
    expect(chat.replies).to_have_count(len(sums))
    assert chat.said == said
    stored = chat.stored(name)
    assert [line["text"] for line in stored if line["role"] == "user"] == said
    replies = [line["parts"][0]["text"] for line in stored if line["role"] == "assistant"]
    assert sorted(re.findall(r"= (\d+)", " ".join(replies))) == sorted(answers)
