from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from channels.base import Account, Sink
from channels.telegram.channel import Telegram
from portico.contracts.messages import InboundEvent
from portico.errors import BadInput, Unavailable
from tests.channels.conftest import Configured
from tests.fakes.telegram import FakeTelegram, drop, refuse, status


class Waits:
    """Records how long was waited for, and does not."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


class Stored:
    """A sink that takes what is not refused."""

    def __init__(self, *refusals: Exception) -> None:
        self.texts: list[str] = []
        self.seen: list[str] = []
        self.refusals = list(refusals)

    async def __call__(self, events: tuple[InboundEvent, ...]) -> None:
        texts = [str(event.body["message"]["text"]) for event in events]  # type: ignore[index,call-overload]
        self.seen += texts
        if self.refusals:
            raise self.refusals.pop(0)
        if "poison" in texts:
            raise BadInput("cannot be stored")
        self.texts += texts


@asynccontextmanager
async def listening(account: Account, sink: Sink, waits: Waits) -> AsyncIterator[None]:
    channel = Telegram(wait=waits)
    task = asyncio.create_task(channel.listen(account, sink))
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await channel.close()


async def test_takes_the_webhook_away_and_moves_on_only_when_all_is_stored(
    telegram: FakeTelegram, telegram_account: Configured
) -> None:
    telegram.webhook = {"url": "https://old.example"}
    telegram.push(telegram.text("one"), telegram.text("two"))
    sink, waits = Stored(Unavailable("Temporal"), Unavailable("Temporal")), Waits()
    async with listening(telegram_account(), sink, waits):
        await telegram.until(lambda: not telegram.pending)
        assert sink.texts == ["one", "two"]
        assert sink.seen == ["one", "two"] * 3
        assert waits.seconds == [0.5, 1.0]
        telegram.push(telegram.text("three"))
        await telegram.until(lambda: not telegram.pending)
        assert sink.texts == ["one", "two", "three"]
    assert telegram.calls[0].method == "deleteWebhook"


async def test_a_crash_before_storing_repeats_and_loses_nothing(
    telegram: FakeTelegram, telegram_account: Configured
) -> None:
    telegram.push(telegram.text("one"))
    reached = asyncio.Event()

    async def hangs(events: tuple[InboundEvent, ...]) -> None:
        reached.set()
        await asyncio.Event().wait()

    async with listening(telegram_account(), hangs, Waits()):
        await reached.wait()
    sink = Stored()
    async with listening(telegram_account(), sink, Waits()):
        await telegram.until(lambda: not telegram.pending)
    assert sink.texts == ["one"]


async def test_one_update_that_is_refused_for_good_does_not_hold_the_others(
    telegram: FakeTelegram, telegram_account: Configured
) -> None:
    telegram.push(telegram.text("one"), telegram.text("poison"), telegram.text("two"))
    sink = Stored()
    async with listening(telegram_account(), sink, Waits()):
        await telegram.until(lambda: not telegram.pending)
    assert sink.texts == ["one", "two"]


async def test_unknown_and_broken_updates_are_passed_over(
    telegram: FakeTelegram, telegram_account: Configured
) -> None:
    telegram.push({"update_id": 5, "new_kind": {}}, {"update_id": 6, "message": "text"}, telegram.text("one"))
    sink = Stored()
    async with listening(telegram_account(), sink, Waits()):
        await telegram.until(lambda: not telegram.pending)
    assert sink.texts == ["one"]


@pytest.mark.parametrize(
    "step",
    [
        status(502),
        drop(),
        refuse(409, "Conflict"),
        refuse(401, "Unauthorized"),
        refuse(429, "slow", retry_after=9),
    ],
)
async def test_waits_and_asks_again_whatever_goes_wrong(
    telegram: FakeTelegram, telegram_account: Configured, step: object
) -> None:
    telegram.script("getUpdates", step, step)  # type: ignore[arg-type]
    telegram.script("deleteWebhook", status(502))
    telegram.push(telegram.text("one"))
    sink, waits = Stored(), Waits()
    async with listening(telegram_account(), sink, waits):
        await telegram.until(lambda: not telegram.pending)
    assert sink.texts == ["one"]
    assert len(waits.seconds) == 3
    assert all(seconds > 0 for seconds in waits.seconds)
