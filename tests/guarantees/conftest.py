"""One stack for all guarantees: killed and restarted all the time, as it has to survive."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.hook import FakeReceiver
from tests.fakes.openai import FakeOpenAI
from tests.guarantees.gateway import SECRET, Gateway, settings_for
from tests.guarantees.platforms import Bot
from tests.support import RunningStack


@pytest.fixture(scope="session")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Bot() as bot, FakeOpenAI() as model, FakeReceiver() as receiver:
        bot.webhook = {"secret_token": SECRET}
        home = tmp_path_factory.mktemp("guarantees")
        stack = RunningStack(home, settings=settings_for(bot, model, receiver=receiver))
        try:
            stack.start()
            bot.webhook = {"secret_token": SECRET}
            yield Gateway(stack, bot, model, receiver)
        finally:
            stack.stop()


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Iterator[Gateway]:
    """The shared stack, with nothing scripted and every part ready."""
    shared_gateway.all_ready()
    yield shared_gateway
    shared_gateway.bot.clear_script()
    shared_gateway.model.clear_script()
    shared_gateway.receiver.clear_script()
