"""G3: order within a conversation, all parts of a reply together, and no conversation waits for another."""

from __future__ import annotations

import pytest

from tests.fakes.server import Step, delay
from tests.fakes.telegram import too_many
from tests.guarantees.gateway import Gateway
from tests.guarantees.platforms import new_chat

pytestmark = pytest.mark.alone

HANGING_S = 12.0
MESSAGES = 30
STUCK = {"hangs": delay(HANGING_S), "answers 429": too_many(int(HANGING_S))}


@pytest.mark.parametrize("step", STUCK.values(), ids=STUCK.keys())
def test_thirty_messages_are_answered_in_order_while_other_chats_are_stuck(
    gateway: Gateway, step: Step
) -> None:
    stuck = [new_chat() for _ in range(20)]
    for chat in stuck:
        gateway.bot.script_chat(chat, step)
        gateway.say("/help", chat=chat)
    for chat in stuck:
        gateway.bot.wait_for_attempts(chat)
    began = max(gateway.bot.attempts(chat)[0] for chat in stuck)

    chat = new_chat()
    texts = [f"/m{n:02d}" if n % 3 else f"Write a poem about m{n:02d}" for n in range(MESSAGES)]
    for text in texts:
        gateway.say(text, chat=chat)
    replies = gateway.bot.wait_for_messages(MESSAGES, chat=chat, timeout_s=90)
    assert [f"m{n:02d}" in reply.text for n, reply in enumerate(replies)] == [True] * MESSAGES
    first_stuck_one_free = min(gateway.bot.attempts(chat)[0] for chat in stuck) + HANGING_S
    assert replies[0].at < first_stuck_one_free, "it did not wait for those that are stuck"
    assert replies[0].at - began < HANGING_S

    for other in stuck:
        (late,) = gateway.bot.wait_for_messages(1, chat=other, timeout_s=60)
        assert "↻" not in late.text


def test_all_parts_of_a_reply_leave_before_the_next(gateway: Gateway) -> None:
    """A long reply is on its way, slowly, when a stop and a tool's result want to go out too."""
    chat = new_chat()
    gateway.model.say(*(f"long{n:05d} " for n in range(1_400)))
    gateway.bot.script_chat(chat, *[delay(0.4)] * 6)
    gateway.say("/calc 20 + 22", chat=chat)
    gateway.say("Write a very long poem about the sea", chat=chat)
    gateway.bot.wait_until(lambda: any("long" in text for text in gateway.bot.texts(chat)), timeout_s=60)
    gateway.say("/stop", chat=chat)
    gateway.say("/after", chat=chat)
    gateway.bot.wait_until(
        lambda: {"calc", "stop", "after"} <= set(map(kind_of, gateway.bot.texts(chat))), timeout_s=60
    )
    kinds = [kind_of(text) for text in gateway.bot.texts(chat)]
    places = [place for place, kind in enumerate(kinds) if kind == "long"]
    assert len(places) >= 3, kinds
    assert places == list(range(places[0], places[-1] + 1)), f"something came between: {kinds}"
    words = " ".join(text for text in gateway.bot.texts(chat) if kind_of(text) == "long").split()
    assert words == [f"long{n:05d}" for n in range(1_400)], "the parts are in order and whole"


def kind_of(text: str) -> str:
    if "long0" in text:
        return "long"
    if "42" in text:
        return "calc"
    return "after" if "/after" in text else "stop"


def test_a_tools_result_quotes_the_message_that_it_answers(gateway: Gateway) -> None:
    chat = new_chat()
    asked = gateway.say("/calc 6 * 7", chat=chat)
    gateway.say("/between", chat=chat)
    replies = gateway.bot.wait_for_messages(2, chat=chat, timeout_s=60)
    result = next(reply for reply in replies if "42" in reply.text)
    other = next(reply for reply in replies if "/between" in reply.text)
    assert result.payload["reply_parameters"]["message_id"] == asked["message"]["message_id"]
    assert "reply_parameters" not in other.payload
