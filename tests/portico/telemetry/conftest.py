"""One stack that tells everything about itself, to a collector and to whoever reads its metrics."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.fakes.hook import FakeReceiver
from tests.fakes.openai import FakeOpenAI
from tests.fakes.otlp import FakeCollector
from tests.guarantees.gateway import SECRET, Gateway, settings_for
from tests.guarantees.platforms import Bot
from tests.support import RunningStack

TOKEN = "a token of twenty-four or more characters"
SETTINGS = """
[telemetry]
otlp_endpoint = "{collector}"
metrics_address = "127.0.0.1:{port}"
metrics_token = "{token}"
[log]
json_lines = true
"""


@dataclass
class Watched(Gateway):
    """The gateway, and where it tells of itself."""

    collector: FakeCollector | None = None
    metrics_port: int = 0

    @property
    def traces(self) -> FakeCollector:
        assert self.collector is not None
        return self.collector


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="package")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with Bot() as bot, FakeOpenAI() as model, FakeReceiver() as receiver, FakeCollector() as collector:
        bot.webhook = {"secret_token": SECRET}
        port = free_port()
        telling = SETTINGS.format(collector=collector.url, port=port, token=TOKEN)
        settings = settings_for(bot, model, receiver=receiver) + telling
        stack = RunningStack(tmp_path_factory.mktemp("watched"), settings=settings)
        try:
            stack.start()
            bot.webhook = {"secret_token": SECRET}
            yield Watched(stack, bot, model, receiver, collector, port)
        finally:
            stack.stop()
