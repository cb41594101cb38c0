"""The number of `understand`'s instances: grows under a flood, shrinks after it, loses nothing, stays in bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrypoints.serve import triton_scaling
from entrypoints.serve.triton_scaling import (
    GROW_AFTER,
    SHRINK_AFTER,
    Hysteresis,
    Lead,
    Load,
    follow_queue,
    load_between,
)
from portico.crypto.keyring import open_keyring
from portico.errors import Unavailable
from portico.settings.home import Home
from portico.storage.engine.database import Database
from portico.storage.leases import Leases
from portico.triton.admin import ModelWork, TritonAdmin
from portico.triton.client import UnderstandClient
from tests.support import RunningStack

FLOOD = Load(queue_ms=80, busy=2.8)
REST = Load(queue_ms=0.2, busy=0.05)


def after(rule: Hysteresis, loads: list[Load], *, now: int = 1) -> int:
    for load in loads:
        now = rule.wanted(load, now)
    return now


@pytest.mark.parametrize(
    ("loads", "now", "then"),
    [
        ([FLOOD] * (GROW_AFTER - 1), 1, 1),
        ([FLOOD] * GROW_AFTER, 1, 2),
        ([FLOOD, FLOOD, REST] * 10, 1, 1),  # a burst is no flood
        ([FLOOD] * 100, 1, 3),  # bounded
        ([REST] * (SHRINK_AFTER - 1), 2, 2),
        ([REST] * SHRINK_AFTER, 2, 1),
        ([REST] * 100, 3, 1),  # one always stays
        ([Load(0.2, 0.9)] * 100, 2, 2),  # the other alone would be too busy
        ([Load(40, 0.3)] * 100, 1, 1),  # waiting for something else than an instance
    ],
)
def test_it_follows_only_what_lasts(loads: list[Load], now: int, then: int) -> None:
    assert after(Hysteresis(3), loads, now=now) == then


def test_load_is_what_was_added() -> None:
    before, now = ModelWork(10, 5_000_000, 1_000_000_000), ModelWork(30, 205_000_000, 2_500_000_000)

    assert load_between(before, now, seconds=2) == Load(queue_ms=10, busy=0.75)
    assert load_between(now, now, seconds=2) == Load(0, 0)
    assert load_between(now, ModelWork(2, 4_000_000, 0), seconds=2) == Load(2, 0)  # loaded again


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with RunningStack(tmp_path_factory.mktemp("instances"), only=("triton",)) as running:
        yield running


async def test_a_flood_brings_an_instance_and_rest_takes_it_away(
    triton: RunningStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton_scaling, "GROW_AFTER", 2)
    monkeypatch.setattr(triton_scaling, "SHRINK_AFTER", 3)
    admin = TritonAdmin(triton.address("triton"), triton.credentials()["triton_admin_key"])
    client = UnderstandClient(triton.address("triton"), timeout_s=30)
    head = (await client.understand(["hello"]))[0].head_version
    follower = asyncio.create_task(follow_queue(triton.home, admin, most=2, poll_s=0.4))
    flooding = True

    async def flood() -> int:
        lost = 0
        while flooding:
            results = await client.understand(["what time is it in a town by the sea"] * 16)
            lost += [result.head_version for result in results] != [head] * 16
        return lost

    floods = [asyncio.create_task(flood()) for _ in range(8)]
    await _until(admin, 2)
    flooding = False
    assert await asyncio.gather(*floods) == [0] * 8
    await _until(admin, 1)
    assert (await client.understand(["hello"]))[0].head_version == head
    follower.cancel()
    await client.close()
    await admin.close()


async def _until(admin: TritonAdmin, count: int) -> None:
    async with asyncio.timeout(60):
        while await admin.instances("understand") != count:  # noqa: ASYNC110 - Triton tells nobody
            await asyncio.sleep(0.2)


async def test_without_memory_none_is_added(triton: RunningStack, monkeypatch: pytest.MonkeyPatch) -> None:
    admin = TritonAdmin(triton.address("triton"), triton.credentials()["triton_admin_key"])
    monkeypatch.setattr(triton_scaling, "available_bytes", lambda: 100)
    rule = Hysteresis(2)
    for _ in range(GROW_AFTER + 1):
        await triton_scaling._follow(triton.home, admin, rule, FLOOD)

    assert await admin.instances("understand") == 1
    await admin.close()


async def test_triton_away_is_waited_for(triton: RunningStack) -> None:
    admin = TritonAdmin("127.0.0.1:1", "")
    with pytest.raises(Unavailable):
        await admin.work("understand")
    follower = asyncio.create_task(follow_queue(triton.home, admin, most=2, poll_s=0.01))
    await asyncio.sleep(0.3)

    assert not follower.done()
    follower.cancel()
    await follow_queue(triton.home, admin, most=1)  # switched off
    await admin.close()


async def test_of_several_workers_one_follows_and_another_takes_over(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.make()
    database = Database.open(home, open_keyring(home))
    first, second = (Lead(Leases(database), ask_every_s=0, lease_s=0.3) for _ in range(2))
    assert [await first(), await second(), await first()] == [True, False, True]
    await asyncio.sleep(0.4)  # the first one was killed
    assert [await second(), await first(), await second()] == [True, False, True]
    database.close()
