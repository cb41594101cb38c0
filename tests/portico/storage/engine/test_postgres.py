"""What is true of PostgreSQL alone: what its files hold, who waits for whom, and what a lost server does."""

from __future__ import annotations

import asyncio
import base64
import multiprocessing
import multiprocessing.pool
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from channels.base import Rates
from portico.contracts.messages import ConversationRef
from portico.crypto.keyring import Keyring, open_keyring
from portico.errors import Misconfigured, Unavailable
from portico.settings.home import Home
from portico.settings.servers import DatabaseSettings
from portico.settings.settings import Settings
from portico.storage.access import Access
from portico.storage.dead_letters import DeadLetter, DeadLetters
from portico.storage.engine.database import Database
from portico.storage.engine.migrate import Migration
from portico.storage.engine.postgres import Ciphers, Postgres, PostgresConnection
from portico.storage.engine.postgres_schema import bring_up_to_date
from portico.storage.inbox import Inbox
from portico.storage.memory import Memory, MemoryLine
from portico.storage.outbox import Outbox
from portico.storage.outbox_rows import NewRow
from portico.storage.people import People
from portico.storage.secrets import SecretStore
from tests.portico.crypto.rotated import add_data_key
from tests.portico.storage.support import MASTER
from tests.postgres import PostgresServer, running_postgres

SPAWN = multiprocessing.get_context("spawn")
SECRET = "heron"
"""Stands in everything that a person wrote or is called by."""


def settings_for(url: str) -> Settings:
    return Settings(database=DatabaseSettings(url=SecretStr(url)))


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    url = postgres.new_database()
    yield url
    postgres.drop(url)


@pytest.fixture
def database(home: Home, keyring: Keyring, url: str) -> Iterator[Database]:
    database = Database.open(home, keyring, settings_for(url))
    yield database
    database.close()


# --- what its files hold --------------------------------------------------------------------------------


async def fill(database: Database, keyring: Keyring) -> None:
    """A row in each table that tells something of a person."""
    ref = ConversationRef(id="c", channel="telegram", account="default", chat=SECRET + "-chat")
    await Inbox(database).claim(
        "c", (SECRET + "-key",), "t1", now=1, text=SECRET, sender_id=SECRET, message_id=SECRET, ref=ref
    )
    await Memory(database).remember("c", "t2", [MemoryLine("user", SECRET + " in the reeds", 1, SECRET)])
    outbox = Outbox(database)
    [row] = await outbox.prepare([NewRow("c", "t1", 0, "sendMessage", f'{{"text":"{SECRET}"}}', "d")], now=1)
    await outbox.begin(
        row.row_id, attempt=1, rates=Rates(per_s=1, per_chat_per_s=1), account_key="a", chat_key=SECRET, now=1
    )
    await outbox.finish(row.row_id, attempt=1, state="sent", platform_id=SECRET, now=2)
    people = People(database, keyring)
    code = await people.offer_code("telegram", "default", SECRET, SECRET, SECRET, now=1)
    await people.offer_code("telegram", "default", SECRET + "2", SECRET, SECRET, now=1)
    await people.approve(code, now=2)
    await people.redeem_owner_link("wrong", "telegram", "default", SECRET, SECRET, now=3)
    await SecretStore(database).set("bot", SECRET)
    await Access(database).create_key("service", SECRET)
    await DeadLetters(database).add(
        DeadLetter("l", "c", "t1", "telegram", "default", "x", SECRET, f'["{SECRET}"]', 1.0)
    )


async def test_no_table_holds_anything_readable(database: Database, keyring: Keyring, url: str) -> None:
    await fill(database, keyring)
    with psycopg.connect(url, autocommit=True) as spy:
        tables = [
            name for (name,) in spy.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ]
        filled = 0
        for table in tables:
            rows = str(spy.execute(f'SELECT * FROM "{table}"').fetchall())
            filled += rows != "[]"
            assert SECRET not in rows.lower(), table
        assert filled >= 12, "the test must fill the tables"
    assert [line.text for line in await Memory(database).recent("c", 5)] == [SECRET + " in the reeds"]


async def test_values_of_another_portico_are_refused_with_a_clear_line(
    database: Database, keyring: Keyring, url: str, tmp_path: Path
) -> None:
    await fill(database, keyring)
    other = Home(tmp_path / "other")
    other.make()
    foreign = Database.open(other, open_keyring(other), settings_for(url))
    try:
        with pytest.raises(Misconfigured, match="keys of this Portico do not open"):
            await Memory(foreign).recent("c", 5)
    finally:
        foreign.close()


async def test_a_new_data_key_reads_what_the_old_one_wrote(
    database: Database, home: Home, keyring: Keyring, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(database, keyring)
    monkeypatch.setenv("PORTICO_MASTER_KEY", base64.b64encode(MASTER).decode())
    add_data_key(home, "blob")
    renewed = Database.open(home, open_keyring(home, MASTER), settings_for(url))
    try:
        memory = Memory(renewed)
        await memory.remember("c", "t9", [MemoryLine("user", "after the heron", 9)])
        assert [line.text for line in await memory.recent("c", 5)] == [
            SECRET + " in the reeds",
            "after the heron",
        ]
        assert len(await memory.search("c", SECRET)) == 2
        assert not await Inbox(renewed).claim("c", (SECRET + "-key",), "t7", now=5)
    finally:
        renewed.close()


@given(text=st.text())
def test_any_text_comes_back_as_it_was(text: str) -> None:
    ciphers = Ciphers(_KEYRING)
    assert ciphers.open(ciphers.seal(text)) == text
    assert ciphers.open(ciphers.equal(text)) == text
    assert ciphers.equal(text) == ciphers.equal(text)
    assert not text or ciphers.seal(text) != ciphers.seal(text)


@pytest.mark.parametrize("text", ["\0", "a\0b", "\x7fg:x:y", "\x7fs:AAAA", "\x7f", "%s ? %%", "🪿" * 300])
async def test_unmarked_text_of_any_kind_is_kept(database: Database, text: str) -> None:
    ref = ConversationRef(id="c", channel="web", account=text, chat=text)
    await Inbox(database).claim("c", (text,), "t", now=1, text=text, ref=ref)
    found = await Memory(database).conversation("c")
    assert found is not None and (found.account, found.chat, found.title) == (text, text, text[:80])


# --- several machines -----------------------------------------------------------------------------------


def _claim_and_count(home: Path, url: str, worker: int, barrier: object, claimed: object) -> None:
    async def work() -> int:
        place = Home(home)
        database = Database.open(place, open_keyring(place, MASTER), settings_for(url))
        inbox, outbox = Inbox(database), Outbox(database)
        barrier.wait()  # type: ignore[attr-defined]
        owned = 0
        for number in range(40):
            turn = f"{worker}-{number}"
            if await inbox.claim("c", (f"k{number}",), turn, now=1):
                owned += 1
                await outbox.prepare([NewRow("c", turn, 0, "send", "{}")], now=1)
        database.close()
        return owned

    claimed.put(asyncio.run(work()))  # type: ignore[attr-defined]


async def test_two_machines_claim_each_event_once_and_number_without_gaps(
    database: Database, home: Home, url: str
) -> None:
    barrier, claimed = SPAWN.Barrier(2), SPAWN.Queue()
    workers = [
        SPAWN.Process(target=_claim_and_count, args=(home.root, url, worker, barrier, claimed))
        for worker in (0, 1)
    ]
    for process in workers:
        process.start()
    owned = [await asyncio.to_thread(claimed.get, True, 60) for _ in workers]
    for process in workers:
        await asyncio.to_thread(process.join, 30)
    assert sum(owned) == 40
    rows = await database.read(lambda c: c.execute("SELECT seq FROM outbox ORDER BY seq").fetchall())
    assert [row["seq"] for row in rows] == list(range(1, 41))


async def test_a_failing_write_takes_no_other_of_its_commit_with_it(database: Database) -> None:
    def broken(connection: object) -> None:
        connection.execute("INSERT INTO leases (name) VALUES ('x')")  # type: ignore[attr-defined]

    inbox = Inbox(database)
    results = await asyncio.gather(
        *(inbox.claim("c", (f"k{number}",), f"t{number}", now=1) for number in range(10)),
        database.write(broken),
        *(inbox.claim("d", (f"k{number}",), f"t{number}", now=1) for number in range(10)),
        return_exceptions=True,
    )
    assert [result for result in results if result is True] == [True] * 20
    assert [type(result).__name__ for result in results if result is not True] == ["NotNullViolation"]


# --- a server that goes away ----------------------------------------------------------------------------


async def test_a_killed_server_is_away_and_nothing_committed_is_lost(home: Home, keyring: Keyring) -> None:
    with running_postgres() as server:
        database = Database.open(home, keyring, settings_for(server.url()))
        inbox = Inbox(database)
        assert await inbox.claim("c", ("k",), "t", now=1)
        with psycopg.connect(server.url(), autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'portico'"
            )
        outcomes = [await _try(inbox, f"k{number}") for number in range(10)]
        assert outcomes[-1] == "claimed", "connections are made again"
        await asyncio.to_thread(server.kill)
        assert await _try(inbox, "later") == "away"
        with pytest.raises(Unavailable, match="nothing answers"):
            Database.open(home, keyring, settings_for(server.url()))
        database.close()


async def _try(inbox: Inbox, key: str) -> str:
    try:
        return "claimed" if await inbox.claim("c", (key,), key, now=1) else "repeat"
    except Unavailable:
        return "away"


# --- refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("portico:", "portico:not"), "refused the user or the password"),
        (("/t", "/nothere"), "does not exist"),
        (("postgresql://", "mysql://"), "is not one"),
    ],
)
def test_a_wrong_url_is_one_clear_line(
    home: Home, keyring: Keyring, url: str, change: tuple[str, str], line: str
) -> None:
    wrong = url.replace(*change) if change[0] != "/t" else url.rpartition("/")[0] + change[1]
    with pytest.raises(Misconfigured, match=line) as caught:
        Database.open(home, keyring, settings_for(wrong))
    assert "127.0.0.1" not in str(caught.value), "the address stays out"


def test_a_newer_database_is_refused(home: Home, keyring: Keyring, database: Database, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("INSERT INTO schema_migrations VALUES (9999, 'x', 'x', 0)")
    with pytest.raises(Misconfigured, match="newer than this Portico"):
        Database.open(home, keyring, settings_for(url))


def test_a_migration_that_fails_half_way_leaves_nothing_behind(keyring: Keyring, url: str) -> None:
    connection = PostgresConnection(url, Ciphers(keyring))
    broken = Migration(1, "0001_a", "CREATE TABLE a (x TEXT);\nCREATE TABLE a (x TEXT);")
    with pytest.raises(Misconfigured, match="already exists"):
        bring_up_to_date(connection, (broken,))
    good = Migration(1, "0001_a", "CREATE TABLE a (x TEXT);")
    bring_up_to_date(connection, (good,))
    with pytest.raises(Misconfigured, match="0001_a"):
        bring_up_to_date(connection, (Migration(1, "0001_a", "CREATE TABLE b (x TEXT);"),))
    connection.close()


def test_machines_that_start_at_once_migrate_once(keyring: Keyring, url: str) -> None:
    with multiprocessing.pool.ThreadPool(4) as pool:
        pool.map(lambda _: Postgres(url, keyring).prepare(), range(4))


_KEYRING: Keyring


@pytest.fixture(scope="module", autouse=True)
def _some_keyring(tmp_path_factory: pytest.TempPathFactory) -> None:
    global _KEYRING
    home = Home(tmp_path_factory.mktemp("keys"))
    home.make()
    _KEYRING = open_keyring(home)
