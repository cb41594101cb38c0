"""Live updates through PostgreSQL: in order, to every reader, encrypted, and whole again after a lost server."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from portico.crypto.keyring import Keyring
from portico.settings.home import Home
from portico.storage.live.hub import RESYNC, Subscription, Update
from portico.storage.live.postgres import CHANNEL, PostgresHub, PostgresPublisher
from tests.postgres import PostgresServer


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    url = postgres.new_database()
    yield url
    postgres.drop(url)


@pytest.fixture
async def hubs(home: Home, keyring: Keyring, url: str) -> AsyncIterator[tuple[PostgresHub, PostgresHub]]:
    """Two replicas of the edge."""
    both = PostgresHub(home, keyring, url), PostgresHub(home, keyring, url)
    for hub in both:
        await hub.start()
    yield both
    for hub in both:
        await hub.stop()


@pytest.fixture
async def publisher(home: Home, keyring: Keyring, url: str) -> AsyncIterator[PostgresPublisher]:
    publisher = PostgresPublisher(home, keyring, url)
    yield publisher
    await publisher.close()


async def next_of(updates: Subscription) -> Update:
    return await asyncio.wait_for(anext(updates), 10)


async def heard(updates: Subscription, publisher: PostgresPublisher) -> None:
    """Publish until the reader hears it: both ends connect in the background."""
    for _ in range(100):
        publisher.publish("c", {"kind": "hello"})
        try:
            while await asyncio.wait_for(anext(updates), 0.2) != {"kind": "hello"}:
                continue
            return
        except TimeoutError:
            continue
    pytest.fail("nothing arrived")


async def test_updates_reach_the_readers_of_every_replica_in_order(
    hubs: tuple[PostgresHub, PostgresHub], publisher: PostgresPublisher
) -> None:
    with hubs[0].subscribe("c") as first, hubs[1].subscribe("c") as second, hubs[1].subscribe("d") as other:
        for reader in (first, second):
            await heard(reader, publisher)
        for number in range(20):
            publisher.publish("c", {"kind": "delta", "text": f"{number} 你好"})
        for reader in (first, second):
            got: list[str] = []
            while len(got) < 20:
                got += [update["text"] for update in [await next_of(reader)] if "text" in update]
            assert got == [f"{number} 你好" for number in range(20)]
        assert all(other._waiting.get_nowait() == RESYNC for _ in range(other._waiting.qsize()))


async def test_an_update_that_is_too_long_becomes_a_look_into_the_outbox(
    hubs: tuple[PostgresHub, PostgresHub], publisher: PostgresPublisher
) -> None:
    with hubs[0].subscribe("c") as reader:
        await heard(reader, publisher)
        publisher.publish("c", {"kind": "delta", "text": "x" * 10_000})
        while (update := await next_of(reader)) == {"kind": "hello"}:
            continue
        assert update == RESYNC


async def test_nothing_readable_travels_and_nothing_foreign_is_taken(
    hubs: tuple[PostgresHub, PostgresHub], publisher: PostgresPublisher, url: str
) -> None:
    with hubs[0].subscribe("c") as reader, psycopg.connect(url, autocommit=True) as spy:
        await heard(reader, publisher)
        spy.execute(f"LISTEN {CHANNEL}")
        for payload in ("garbage", "e30=", base64.b64encode(b"\x05live1forged").decode(), ""):
            spy.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))
        publisher.publish("c", {"kind": "delta", "text": "the heron"})
        while (update := await next_of(reader)).get("text") != "the heron":
            assert update in ({"kind": "hello"}, RESYNC)
        payloads = [notice.payload for notice in spy.notifies(timeout=1, stop_after=20)]
        assert payloads and not any(
            "heron" in one or b"heron" in base64.b64decode(one + "==") for one in payloads[4:]
        )


async def test_a_lost_connection_is_made_again(
    hubs: tuple[PostgresHub, PostgresHub], publisher: PostgresPublisher, postgres: PostgresServer, url: str
) -> None:
    with hubs[0].subscribe("c") as reader:
        await heard(reader, publisher)
        with psycopg.connect(postgres.url(), autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                (url.rpartition("/")[2],),
            )
        while await next_of(reader) != RESYNC:
            continue
        await heard(reader, publisher)
