"""G1: an acked webhook is never lost, whichever process is killed, whenever."""

from __future__ import annotations

import os
import signal
from itertools import cycle, islice

import pytest

from channels.telegram.render import MARK
from tests.fakes.telegram import Sent
from tests.guarantees.gateway import Gateway
from tests.guarantees.platforms import Bot, Traffic, attempt, check_promises, new_chat, persist
from tests.support import until

pytestmark = pytest.mark.alone

PARTS = ("api", "worker", "temporal", "opa", "triton", "s3")
ENOUGH = 8
"""So many acks before a kill and after it: messages are in every stage when it comes."""


@pytest.mark.parametrize("part", PARTS)
def test_a_killed_part_loses_and_doubles_nothing(gateway: Gateway, part: str) -> None:
    with gateway.traffic() as traffic:
        traffic.wait_for_acks(ENOUGH)
        gateway.kill(part)
        traffic.wait_for_acks(ENOUGH)
        traffic.drain()
    check_promises(traffic)
    assert [letter for chat in traffic.chats for letter in gateway.letters_of(chat.id)] == []


def test_a_killed_stack_goes_on_where_it_was(gateway: Gateway) -> None:
    with gateway.traffic(ahead=6) as traffic:
        traffic.wait_for_acks(2 * ENOUGH)
        gateway.bot.wait_until(traffic.unanswered, timeout_s=60)
        gateway.kill_all()
        traffic.wait_for_acks(ENOUGH)
        traffic.drain()
    check_promises(traffic)
    assert [letter for chat in traffic.chats for letter in gateway.letters_of(chat.id)] == []


@pytest.mark.long
@pytest.mark.timeout(900)
def test_parts_killed_one_after_another_for_minutes_lose_and_double_nothing(gateway: Gateway) -> None:
    with gateway.traffic(chats=12, ahead=3) as traffic:
        for part in islice(cycle(PARTS), 4 * len(PARTS)):
            traffic.wait_for_acks(ENOUGH, timeout_s=120)
            gateway.kill(part)
        gateway.kill("api", "worker", "temporal")
        gateway.kill_all()
        traffic.wait_for_acks(ENOUGH, timeout_s=120)
        traffic.drain(timeout_s=300)
    check_promises(traffic)
    assert [letter for chat in traffic.chats for letter in gateway.letters_of(chat.id)] == []


def test_temporal_away_is_503_and_never_an_ack(gateway: Gateway) -> None:
    chat = new_chat()
    update = gateway.bot.text("/help", chat=chat)
    with gateway.away("temporal"):
        answer = gateway.call("POST", "/v1/messages", {"text": "/help"})
        assert (answer.status, answer.body["code"]) == (503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert attempt(gateway.bot, gateway.webhook, update) in (0, 503)
    persist(gateway.bot, gateway.webhook, update)
    gateway.bot.wait_for_messages(1, chat=chat, timeout_s=60)


def test_an_edge_that_starts_while_temporal_is_away_answers_503(gateway: Gateway) -> None:
    chat = new_chat()
    update = gateway.bot.text("/help", chat=chat)
    with gateway.away("temporal"):
        before = gateway.stack.kill("api")
        until(lambda: gateway.stack.parts()["api"]["pid"] not in (None, before), timeout_s=60)
        until(lambda: attempt(gateway.bot, gateway.webhook, update) == 503, timeout_s=60)
    gateway.stack.wait_ready("api", timeout_s=60)
    persist(gateway.bot, gateway.webhook, update)
    gateway.bot.wait_for_messages(1, chat=chat, timeout_s=60)
    assert len(gateway.bot.texts(chat)) == 1


def test_a_worker_that_is_away_does_not_stop_acks(gateway: Gateway) -> None:
    chat = new_chat()
    pid = gateway.stack.pid("worker")
    os.kill(pid, signal.SIGSTOP)
    try:
        gateway.say("/help", chat=chat)
        assert gateway.bot.texts(chat) == []
    finally:
        os.kill(pid, signal.SIGCONT)
    gateway.bot.wait_for_messages(1, chat=chat, timeout_s=60)


@pytest.mark.parametrize(
    ("seen", "kept"),
    [
        (("0", "1", "2"), True),
        (("0", "1", "↻1", "2"), True),
        (("0", "↻1", "2"), True),
        (("0", "2"), False),
        (("0", "1", "1", "2"), False),
        (("1", "0", "2"), False),
        (("0", "1", "2", "↻1"), False),
    ],
    ids=["whole", "a marked repeat", "only the repeat", "lost", "doubled", "out of order", "a late repeat"],
)
def test_the_count_itself_finds_what_is_broken(seen: tuple[str, ...], kept: bool) -> None:
    traffic = Traffic(Bot(), str, chats=1)
    (chat,) = traffic.chats
    chat.acked = [chat.tag(number) for number in range(3)]
    for number, one in enumerate(seen):
        text = (MARK if one.startswith("↻") else "") + "about " + chat.tag(int(one[-1]))
        traffic.bot.messages.append(Sent(number, str(chat.id), text, 0.0, {}))
    if kept:
        check_promises(traffic)
    else:
        with pytest.raises(AssertionError):
            check_promises(traffic)
