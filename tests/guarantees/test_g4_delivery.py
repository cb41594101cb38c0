"""G4: effectively-once delivery. Never a silent loss, never an unmarked duplicate."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from temporalio.api.enums.v1 import EventType

from tests.fakes.server import Step, delay, drop, status
from tests.fakes.telegram import refuse, too_many
from tests.guarantees.gateway import Gateway
from tests.guarantees.history import temporal
from tests.guarantees.platforms import is_marked, new_chat, unmarked

pytestmark = pytest.mark.alone

UNKNOWN_ENDS = {
    "dropped after it was taken": (drop(taken=True), 2),
    "dropped before it was taken": (drop(taken=False), 1),
    "502 after it was taken": (status(502, taken=True), 2),
    "502 before it was taken": (status(502), 1),
}
BURST, PER_S = 5, 1.0
EARLY_S = 0.15
"""Places are given on the database's clock, arrivals are stamped here, after a connection was opened."""


@pytest.mark.parametrize(("step", "seen"), UNKNOWN_ENDS.values(), ids=UNKNOWN_ENDS.keys())
def test_a_call_with_an_unknown_end_is_repeated_once_with_a_mark(
    gateway: Gateway, step: Step, seen: int
) -> None:
    chat = new_chat()
    gateway.bot.script_chat(chat, step)
    gateway.say("/first", chat=chat)
    gateway.bot.wait_for_attempts(chat, 2)
    gateway.say("/second", chat=chat)
    replies = gateway.bot.wait_for_messages(seen + 1, chat=chat, timeout_s=60)
    assert [is_marked(reply.text) for reply in replies] == [False, True, False][-seen - 1 :]
    assert len({unmarked(reply.text) for reply in replies[:-1]}) == 1, "the repeat says the same"
    assert "/second" in replies[-1].text
    assert len(gateway.bot.attempts(chat)) == 3, "once, not again and again"


@pytest.mark.parametrize("step", [drop(), status(502, taken=True)], ids=["dropped", "502"])
def test_a_receiver_with_idempotency_keys_gets_the_same_key_again_and_no_mark(
    gateway: Gateway, step: Step
) -> None:
    chat = f"hook-{uuid.uuid4().hex[:8]}"
    gateway.receiver.script("reply", step)
    assert gateway.say_by_hook("/first", chat=chat, message_id=f"{chat}-1") // 100 == 2
    posts = gateway.receiver.wait_until(
        lambda: (
            found if len(found := [p for p in gateway.receiver.posts if p.data["chat"] == chat]) == 2 else []
        ),
        timeout_s=60,
    )
    assert len({post.id for post in posts}) == 1
    assert len({post.data["text"] for post in posts}) == 1
    assert all(post.verified for post in posts)


@pytest.mark.long
def test_a_platform_that_hangs_is_asked_again_with_a_mark(gateway: Gateway) -> None:
    chat = new_chat()
    gateway.bot.script_chat(chat, delay(40))
    gateway.say("/first", chat=chat)
    replies = gateway.bot.wait_for_messages(2, chat=chat, timeout_s=90)
    assert sorted(is_marked(reply.text) for reply in replies) == [False, True]
    assert len(gateway.bot.attempts(chat)) == 2


def test_a_definite_refusal_is_repeated_later_without_a_mark(gateway: Gateway) -> None:
    chat = new_chat()
    gateway.bot.script_chat(chat, too_many(2))
    gateway.say("/first", chat=chat)
    (reply,) = gateway.bot.wait_for_messages(1, chat=chat, timeout_s=60)
    assert not is_marked(reply.text)
    first, second = gateway.bot.attempts(chat)
    assert second - first >= 2 - EARLY_S


def test_a_refusal_for_good_is_a_dead_letter_and_not_tried_again(gateway: Gateway) -> None:
    chat = new_chat()
    gateway.bot.script_chat(chat, refuse(403, "Forbidden: bot was blocked by the user"))
    gateway.say("/first", chat=chat)
    gateway.bot.wait_for_attempts(chat)
    gateway.say("/second", chat=chat)
    (reply,) = gateway.bot.wait_for_messages(1, chat=chat, timeout_s=60)
    assert "/second" in reply.text
    (letter,) = gateway.letters_of(chat)
    assert letter["code"] == "delivery_refused"
    assert "blocked" in letter["cause"]


def test_a_worker_killed_in_the_middle_of_a_call_repeats_with_a_mark(gateway: Gateway) -> None:
    chat = new_chat()
    gateway.bot.script_chat(chat, delay(2))
    gateway.say("/first", chat=chat)
    gateway.bot.wait_for_attempts(chat)
    gateway.kill("worker")
    gateway.bot.wait_for_attempts(chat, 2)
    gateway.say("/second", chat=chat)
    gateway.bot.wait_until(lambda: any("/second" in text for text in gateway.bot.texts(chat)), timeout_s=60)
    firsts = [text for text in gateway.bot.texts(chat) if "/first" in text]
    assert sorted(map(is_marked, firsts)) == [False, True]


def test_a_chats_rate_is_kept_and_waited_for_by_timers(gateway: Gateway) -> None:
    messages = BURST + 3
    chats = [new_chat() for _ in range(5)]
    for chat in chats:
        for number in range(messages):
            gateway.say(f"/n{number}", chat=chat, account="limited")
    for chat in chats:
        replies = gateway.bot.wait_for_messages(messages, chat=chat, timeout_s=90)
        assert [f"/n{n}" in reply.text for n, reply in enumerate(replies)] == [True] * messages
        check_rate([reply.at for reply in replies])
        assert not any(is_marked(reply.text) for reply in replies)
    assert sum(asyncio.run(timers_of(gateway, chat)) for chat in chats) >= 1, (
        "the workflow waits, not the worker"
    )


def test_more_waiting_chats_than_a_worker_has_places_delay_nobody(gateway: Gateway) -> None:
    """A worker has 100 places. If deliveries slept in them, 110 chats that wait for their rate would fill it."""
    waiting = [new_chat() for _ in range(110)]
    for chat in waiting:
        gateway.say("/first", chat=chat, account="slow")
        gateway.say("/second", chat=chat, account="slow")
    for chat in waiting:
        gateway.bot.wait_for_messages(1, chat=chat, timeout_s=90)
    chat = new_chat()
    for number in range(3):
        gateway.say(f"/n{number}", chat=chat)
    free = gateway.bot.wait_for_messages(3, chat=chat, timeout_s=60)
    still = [
        other for other in waiting if len(times := gateway.bot.attempts(other)) < 2 or times[1] > free[-1].at
    ]
    assert len(still) > 100, "the unlimited chat was answered while they waited"


def check_rate(times: list[float]) -> None:
    """In every stretch of time no more than the burst and what the rate has added since."""
    for first in range(len(times)):
        for last in range(first, len(times)):
            allowed = BURST + PER_S * (times[last] - times[first] + EARLY_S)
            assert last - first + 1 <= allowed, [round(at - times[0], 2) for at in times]


async def timers_of(gateway: Gateway, chat: int) -> int:
    client = await temporal(gateway)
    handle = client.get_workflow_handle(gateway.workflow_of(chat, account="limited"))
    history = await handle.fetch_history()
    waits = [
        event.timer_started_event_attributes.start_to_fire_timeout.ToSeconds()
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_TIMER_STARTED
    ]
    return sum(wait < 60 for wait in waits)
