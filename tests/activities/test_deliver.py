"""Delivery against a scripted Telegram and the real outbox: every way in which a call can end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.boundary import translated
from activities.deliver import DeliverSteps
from activities.deps import Deps
from channels import registry
from channels.registry import load
from channels.telegram.render import MARK
from entrypoints.serve.wiring import Foundation
from entrypoints.serve.worker import make_deps
from portico.contracts.messages import ConversationRef, Reply
from portico.contracts.steps import Delivered, DeliverInput
from portico.crypto.keyring import open_keyring
from portico.errors import NotFound, Unavailable
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.storage.engine.database import Database
from portico.storage.outbox_rows import OutboxRow
from tests.fakes.telegram import TOKEN, FakeTelegram, delay, drop, refuse, status, too_many
from tests.portico.servers import connections, free_port

ACCOUNT = {"token": TOKEN, "rate_per_s": 0, "rate_per_chat_per_s": 0, "bot_username": "bot"}


@pytest.fixture
def telegram() -> Iterator[FakeTelegram]:
    with FakeTelegram() as server:
        yield server


class Deliveries:
    """Runs the step as the worker does; `row` is what the outbox says."""

    def __init__(self, deps: Deps) -> None:
        self.deps = deps
        self._steps = DeliverSteps(deps)

    async def run(self, given: DeliverInput) -> Delivered:
        return await ActivityEnvironment().run(self._steps.deliver, given)

    async def row(self, row_id: str = "t1:0") -> OutboxRow:
        row = await self.deps.outbox.get(row_id)
        assert row is not None
        return row

    def states(self, rows: tuple[OutboxRow, ...]) -> list[tuple[str, int, bool]]:
        return [(row.state, row.attempt, row.marked) for row in rows]


def _deps(root: Path, telegram: FakeTelegram, **tables: Any) -> Deps:
    home = Home(root)
    home.make()
    keyring = open_keyring(home)
    base = {"api_base": telegram.url}
    accounts = {
        "default": ACCOUNT | base,
        "limited": ACCOUNT | base | {"rate_per_chat_per_s": 1, "burst": 1},
        "nowhere": ACCOUNT | {"api_base": f"http://127.0.0.1:{free_port()}"},
    }
    settings = Settings.model_validate({"channels": {"telegram": accounts}, **tables})
    return make_deps(
        Foundation(
            home=home,
            settings=settings,
            keyring=keyring,
            connections=connections(),
            database=Database.open(home, keyring),
            resolve=str,
            accounts=registry.accounts(settings, str),
        )
    )


@pytest.fixture
async def deliveries(tmp_path: Path, telegram: FakeTelegram) -> AsyncIterator[Deliveries]:
    deps = _deps(tmp_path, telegram)
    yield Deliveries(deps)
    await _close(deps)


@pytest.fixture
async def holding(tmp_path: Path, telegram: FakeTelegram) -> AsyncIterator[Deliveries]:
    deps = _deps(tmp_path, telegram, delivery={"on_unknown": "hold"})
    yield Deliveries(deps)
    await _close(deps)


async def _close(deps: Deps) -> None:
    await load("telegram").close()
    await deps.live.close()
    deps.outbox._db.close()


def given(text: str = "hello", *, channel: str = "telegram", account: str = "default") -> DeliverInput:
    return DeliverInput(
        conversation=ConversationRef(id="c1", channel=channel, account=account, chat="42"),
        turn_id="t1",
        delivery_id="t1",
        reply=Reply.of_text(text),
        decision_id="d1",
    )


# --- definite refusals: ready again, unmarked --------------------------------------------------------------


async def test_too_many_requests_wait_as_long_as_the_platform_says_and_are_not_marked(
    deliveries: Deliveries, telegram: FakeTelegram
) -> None:
    telegram.script("sendMessage", too_many(7))
    with pytest.raises(Unavailable) as caught:
        await deliveries.run(given())
    delay_of_next = translated(caught.value).next_retry_delay
    assert delay_of_next is not None
    assert delay_of_next.total_seconds() == 7
    row = await deliveries.row()
    assert (row.state, row.attempt, row.marked) == ("ready", 2, False)
    assert await deliveries.run(given()) == Delivered(outcome="sent", calls=1)
    assert telegram.texts() == ["hello"]


async def test_a_platform_that_cannot_be_reached_is_waited_for_unmarked(deliveries: Deliveries) -> None:
    for attempt in (2, 3):
        with pytest.raises(Unavailable):
            await deliveries.run(given(account="nowhere"))
        row = await deliveries.row()
        assert (row.state, row.attempt, row.marked) == ("ready", attempt, False)


async def test_what_the_platform_refuses_for_good_is_not_tried_again(
    deliveries: Deliveries, telegram: FakeTelegram
) -> None:
    telegram.script("sendMessage", refuse(403, "Forbidden: bot was blocked by the user"))
    refused = await deliveries.run(given())
    assert refused.outcome == "refused"
    assert "blocked" in refused.reason
    assert await deliveries.run(given()) == refused
    assert len(telegram.called("sendMessage")) == 1


async def test_an_account_that_was_removed_ends_the_step_for_good(deliveries: Deliveries) -> None:
    with pytest.raises(NotFound):
        await deliveries.run(given(account="removed"))


# --- unknown ends: repeated with a mark, once ----------------------------------------------------------------


@pytest.mark.parametrize(
    "end", [drop(), drop(taken=False), status(502), status(500, taken=True)], ids=lambda end: repr(end)[:40]
)
async def test_a_call_whose_end_nobody_knows_is_repeated_once_with_a_visible_mark(
    deliveries: Deliveries, telegram: FakeTelegram, end: Any
) -> None:
    telegram.script("sendMessage", end)
    with pytest.raises(Unavailable):
        await deliveries.run(given())
    assert (await deliveries.row()).marked
    assert await deliveries.run(given()) == Delivered(outcome="sent", calls=1, marked=1)
    assert await deliveries.run(given()) == Delivered(outcome="sent", calls=1, marked=1)
    assert len(telegram.called("sendMessage")) == 2
    assert [text for text in telegram.texts() if MARK not in text] == ["hello"] * end.taken
    assert len([text for text in telegram.texts() if MARK in text]) == 1


async def test_a_worker_killed_between_the_two_writes_leaves_a_call_that_is_repeated_with_a_mark(
    deliveries: Deliveries, telegram: FakeTelegram
) -> None:
    telegram.script("sendMessage", delay(30))
    attempt = asyncio.create_task(deliveries.run(given()))
    await telegram.until(lambda: telegram.called("sendMessage"))
    attempt.cancel()
    await asyncio.gather(attempt, return_exceptions=True)
    assert (await deliveries.row()).state == "sending"
    assert (await deliveries.run(given())).marked == 1
    assert [MARK in text for text in telegram.texts()] == [True]


async def test_an_attempt_that_was_given_up_but_still_sends_makes_no_unmarked_duplicate(
    deliveries: Deliveries, telegram: FakeTelegram
) -> None:
    telegram.script("sendMessage", delay(0.6))
    slow = asyncio.create_task(deliveries.run(given()))
    await telegram.until(lambda: telegram.called("sendMessage"))
    quick = await deliveries.run(given())
    assert quick == Delivered(outcome="sent", calls=1, marked=1)
    assert await slow == quick
    assert sorted(MARK in text for text in telegram.texts()) == [False, True]
    assert (await deliveries.row()).state == "sent"


async def test_a_call_whose_end_nobody_knows_is_held_where_the_owner_wants_that(
    holding: Deliveries, telegram: FakeTelegram
) -> None:
    telegram.script("sendMessage", drop())
    with pytest.raises(Unavailable):
        await holding.run(given())
    held = await holding.run(given())
    assert (held.outcome, held.marked) == ("held", 0)
    assert held.reason
    assert await holding.run(given()) == held
    assert len(telegram.called("sendMessage")) == 1


async def test_a_killed_attempt_is_held_where_the_owner_wants_that(
    holding: Deliveries, telegram: FakeTelegram
) -> None:
    telegram.script("sendMessage", delay(30))
    attempt = asyncio.create_task(holding.run(given()))
    await telegram.until(lambda: telegram.called("sendMessage"))
    attempt.cancel()
    await asyncio.gather(attempt, return_exceptions=True)
    assert (await holding.run(given())).outcome == "held"
    assert telegram.texts() == []


# --- parts and rates -------------------------------------------------------------------------------------------


async def test_parts_leave_in_order_and_those_that_were_sent_are_not_sent_again(
    deliveries: Deliveries, telegram: FakeTelegram
) -> None:
    text = "\n\n".join(f"part {number} " + "word " * 780 for number in range(3))
    telegram.script("sendMessage", delay(0), too_many(1), drop(taken=False))
    for _ in range(2):
        with pytest.raises(Unavailable):
            await deliveries.run(given(text))
    done = await deliveries.run(given(text))
    assert (done.outcome, done.calls, done.marked) == ("sent", 3, 1)
    assert [f"part {number}" in sent for number, sent in enumerate(telegram.texts())] == [True] * 3
    assert [MARK in sent for sent in telegram.texts()] == [False, True, False]


async def test_a_used_up_rate_returns_a_time_and_sends_nothing(
    deliveries: Deliveries, telegram: FakeTelegram
) -> None:
    text = "\n\n".join("word " * 780 for _ in range(2))
    waiting = await deliveries.run(given(text, account="limited"))
    assert waiting.outcome == "wait"
    assert 0.3 < waiting.wait_s <= 1
    assert len(telegram.texts()) == 1
    await asyncio.sleep(waiting.wait_s)
    assert (await deliveries.run(given(text, account="limited"))).outcome == "sent"
    assert len(telegram.texts()) == 2


async def test_the_same_delivery_again_calls_nobody(deliveries: Deliveries, telegram: FakeTelegram) -> None:
    first = await deliveries.run(given())
    assert await deliveries.run(given("a text that a retry would not have")) == first
    assert telegram.texts() == ["hello"]


async def test_the_web_is_served_from_the_outbox_once(deliveries: Deliveries, telegram: FakeTelegram) -> None:
    for _ in range(2):
        delivered = await deliveries.run(given(channel="web"))
        assert delivered == Delivered(outcome="sent", calls=1)
    (row,) = await deliveries.deps.outbox.tail("c1", 0)
    assert (row.seq, row.state, row.decision_id) == (1, "sent", "d1")
    assert telegram.calls == []
