"""One world and one worker for each module of these tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support import RunningStack
from tests.workflows.harness import World, open_world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(inner_stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with open_world(inner_stack, tmp_path_factory.mktemp("world")) as world, world.worker():
        yield world


@pytest_asyncio.fixture(loop_scope="module")
async def world(shared: World) -> AsyncIterator[World]:
    """The module's world without faults; each test takes a new chat."""
    yield shared
    shared.faults.clear()
    shared.gate.open.set()
    shared.telegram.clear_script()
    shared.model.clear_script()
