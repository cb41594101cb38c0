"""Fixtures of the OpenAI-compatible interface."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import openai
import pytest

from tests.api.conftest import EdgeStack
from tests.api.openai.edge import SETTINGS, Door
from tests.fakes.hook import FakeReceiver
from tests.fakes.openai import FakeOpenAI
from tests.fakes.telegram import FakeTelegram
from tests.support import RunningStack


@pytest.fixture(scope="package")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with ExitStack() as outside:
        main, backup, far = (outside.enter_context(FakeOpenAI()) for _ in range(3))
        telegram, receiver = outside.enter_context(FakeTelegram()), outside.enter_context(FakeReceiver())
        settings = SETTINGS.format(main=main.base_url, backup=backup.base_url, far=far.base_url)
        with RunningStack(tmp_path_factory.mktemp("door"), settings=settings) as running:
            yield Door(EdgeStack(running, telegram, receiver), main, backup, far)


@pytest.fixture
def client(door: Door) -> Iterator[openai.OpenAI]:
    with door.client() as made:
        yield made


@pytest.fixture
def nothing_leaves(door: Door) -> Iterator[None]:
    yield
    assert door.far.asked == [], "local mode, and a cloud route was called"
