from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from portico.crypto.keyring import Keyring, open_keyring
from portico.settings.home import Home
from portico.storage.live.hub import (
    RESYNC,
    RETRY_S,
    WAITING_UPDATES,
    LiveHub,
    LivePublisher,
    Subscription,
    Update,
)
from tests.portico.storage.support import MASTER

OUTBOX: Update = {"kind": "outbox"}


@pytest.fixture
async def hub(home: Home, keyring: Keyring) -> AsyncIterator[LiveHub]:
    hub = LiveHub(home, keyring)
    await hub.start()
    yield hub
    await hub.stop()


@pytest.fixture
async def publisher(home: Home, keyring: Keyring) -> AsyncIterator[LivePublisher]:
    publisher = LivePublisher(home, keyring)
    yield publisher
    await publisher.close()


async def next_of(updates: Subscription) -> Update:
    return await asyncio.wait_for(anext(updates), 5)


async def until(updates: Subscription, wanted: Update) -> None:
    while await next_of(updates) != wanted:
        continue


async def test_publishing_where_nobody_listens_costs_nothing(publisher: LivePublisher) -> None:
    for _ in range(WAITING_UPDATES * 3):
        publisher.publish("c", OUTBOX)
        await asyncio.sleep(0)


async def test_updates_reach_the_conversations_readers_in_order(
    hub: LiveHub, publisher: LivePublisher
) -> None:
    with hub.subscribe("c") as first, hub.subscribe("c") as second, hub.subscribe("d") as other:
        for number in range(20):
            publisher.publish("c", {"kind": "delta", "turn": "t", "text": f"{number} 你好"})
        for reader in (first, second):
            assert await next_of(reader) == RESYNC  # a worker has connected
            got = [await next_of(reader) for _ in range(20)]
            assert [update["text"] for update in got] == [f"{number} 你好" for number in range(20)]
        assert await next_of(other) == RESYNC
        assert other._waiting.empty()


async def test_a_slow_reader_is_told_to_look_again(hub: LiveHub) -> None:
    with hub.subscribe("c") as updates:
        for number in range(WAITING_UPDATES + 5):
            hub.tell("c", {"kind": "delta", "turn": "t", "text": str(number)})
        assert await next_of(updates) == RESYNC
        assert (await next_of(updates))["text"] == str(WAITING_UPDATES + 1)


async def test_a_publisher_finds_a_hub_that_came_back(
    home: Home, keyring: Keyring, publisher: LivePublisher
) -> None:
    first = LiveHub(home, keyring)
    await first.start()
    with first.subscribe("c") as updates:
        publisher.publish("c", OUTBOX)
        await until(updates, OUTBOX)
    await first.stop()

    second = LiveHub(home, keyring)
    await second.start()
    with second.subscribe("c") as updates:
        waiting = asyncio.ensure_future(until(updates, OUTBOX))
        while not waiting.done():
            publisher.publish("c", OUTBOX)
            await asyncio.sleep(RETRY_S / 5)
        await waiting
    await second.stop()


async def test_readers_look_again_when_a_worker_is_gone(hub: LiveHub, publisher: LivePublisher) -> None:
    with hub.subscribe("c") as updates:
        publisher.publish("c", OUTBOX)
        await until(updates, OUTBOX)
        await publisher.close()
        assert await next_of(updates) == RESYNC


async def test_who_has_not_the_key_is_not_heard(hub: LiveHub, home: Home, tmp_path: Path) -> None:
    stranger_home = Home(tmp_path / "stranger")
    stranger_home.make()
    stranger = LivePublisher(home, open_keyring(stranger_home, MASTER))
    with hub.subscribe("c") as updates:
        stranger.publish("c", OUTBOX)
        assert [await next_of(updates), await next_of(updates)] == [RESYNC, RESYNC]  # came and was sent away
        assert updates._waiting.empty()
    await stranger.close()


@pytest.mark.parametrize(
    "garbage", [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x02\x05x", b"GET / HTTP/1.1\r\n\r\n"]
)
async def test_garbage_ends_the_connection_and_nothing_else(hub: LiveHub, home: Home, garbage: bytes) -> None:
    directory = os.open(home.run, os.O_PATH)
    reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{directory}/live.sock")
    os.close(directory)
    writer.write(garbage)
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    with hub.subscribe("c") as updates:
        hub.tell("c", OUTBOX)
        await until(updates, OUTBOX)


async def test_only_the_owner_may_connect(hub: LiveHub, home: Home) -> None:
    assert home.live_socket.stat().st_mode & 0o077 == 0


async def test_a_very_deep_home_works(tmp_path: Path) -> None:
    home = Home(tmp_path / ("d" * 100) / ("e" * 100))
    home.make()
    keyring = open_keyring(home, MASTER)
    hub, publisher = LiveHub(home, keyring), LivePublisher(home, keyring)
    await hub.start()
    with hub.subscribe("c") as updates:
        publisher.publish("c", OUTBOX)
        await until(updates, OUTBOX)
    await publisher.close()
    await hub.stop()


async def test_readers_that_left_are_forgotten(hub: LiveHub) -> None:
    with hub.subscribe("c"):
        assert hub._subscriptions
    assert not hub._subscriptions
