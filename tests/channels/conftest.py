from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from channels.base import Account
from channels.registry import accounts
from portico.settings.settings import Settings
from tests.fakes.hook import FakeReceiver
from tests.fakes.telegram import FakeTelegram

Configured = Callable[..., Account]


@pytest.fixture
def telegram() -> Iterator[FakeTelegram]:
    with FakeTelegram() as fake:
        yield fake


@pytest.fixture
def receiver() -> Iterator[FakeReceiver]:
    with FakeReceiver() as fake:
        yield fake


@pytest.fixture
def telegram_account(telegram: FakeTelegram) -> Configured:
    def configured(**more: object) -> Account:
        table = {"token": "env:TOKEN", "api_base": telegram.url, **more}
        settings = Settings(channels={"telegram": {"default": table}})
        return accounts(settings, lambda _: telegram.token).get("telegram")

    return configured


@pytest.fixture
def hook_account(receiver: FakeReceiver) -> Configured:
    def configured(**more: object) -> Account:
        table = {"secret": "env:SECRET", "reply_url": receiver.reply_url, **more}
        return accounts(Settings(channels={"hook": {"shop": table}}), lambda _: receiver.secret).get(
            "hook", "shop"
        )

    return configured
