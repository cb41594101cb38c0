from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from channels.base import Rates
from portico.crypto.keyring import Keyring, open_keyring
from portico.errors import Misconfigured, Unavailable
from portico.settings.home import Home
from portico.storage.engine.database import Database
from portico.storage.engine.migrate import Migration, bring_up_to_date, known_migrations
from portico.storage.engine.sqlcipher import Connection, connect
from portico.storage.inbox import Inbox
from portico.storage.outbox import Outbox
from portico.storage.outbox_rows import NewRow
from tests.portico.storage.support import MASTER

NORMAL, FULL = 1, 2
SPAWN = multiprocessing.get_context("spawn")


def lease(connection: Connection, name: str) -> None:
    connection.execute("INSERT INTO leases (name, holder, until) VALUES (?, 'h', 1)", (name,))


async def leases(db: Database) -> list[str]:
    rows = await db.read(
        lambda connection: connection.execute("SELECT name FROM leases ORDER BY name").fetchall()
    )
    return [row["name"] for row in rows]


# --- refusals ---------------------------------------------------------------------------------------


def test_a_wrong_key_is_one_clear_line(home: Home, keyring: Keyring, db: Database) -> None:
    db.close()
    home.keyring.unlink()
    with pytest.raises(Misconfigured, match=r"does not open .*portico\.db"):
        Database.open(home, open_keyring(home, MASTER))


def test_a_newer_database_is_refused(home: Home, keyring: Keyring, db: Database) -> None:
    db.close()
    connection = connect(home.database, keyring.current("database"))
    connection.execute("INSERT INTO schema_migrations VALUES (9999, 'x', 'x', 0)")
    connection.close()
    with pytest.raises(Misconfigured, match="database is newer than this checkout"):
        Database.open(home, keyring)


def test_a_migration_that_was_changed_afterwards_is_refused(home: Home, keyring: Keyring) -> None:
    key = keyring.current("database")
    bring_up_to_date(home, key, (Migration(1, "0001_a", "CREATE TABLE a (x TEXT);"),))
    with pytest.raises(Misconfigured, match="0001_a"):
        bring_up_to_date(home, key, (Migration(1, "0001_a", "CREATE TABLE b (x TEXT);"),))


def test_a_failing_migration_leaves_nothing_behind(home: Home, keyring: Keyring) -> None:
    key = keyring.current("database")
    broken = Migration(1, "0001_a", "CREATE TABLE a (x TEXT);\nCREATE TABLE a (x TEXT);")
    with pytest.raises(Exception, match="already exists"):
        bring_up_to_date(home, key, (broken,))
    bring_up_to_date(home, key, (Migration(1, "0001_a", "CREATE TABLE a (x TEXT);"),))


async def test_a_closed_database_is_away(db: Database) -> None:
    db.close()
    with pytest.raises(Unavailable):
        await db.read(lambda connection: None)


async def test_a_reader_cannot_write(db: Database) -> None:
    with pytest.raises(Exception, match=r"readonly|is unavailable"):
        await db.read(lambda connection: lease(connection, "a"))


# --- migrations ---------------------------------------------------------------------------------------


def test_an_existing_database_is_backed_up_before_it_is_migrated(home: Home, keyring: Keyring) -> None:
    key = keyring.current("database")
    first = Migration(1, "0001_a", "CREATE TABLE a (x TEXT);\nINSERT INTO a VALUES ('marker-in-backup');")
    bring_up_to_date(home, key, (first,))
    assert not home.backups.exists()
    bring_up_to_date(home, key, (first, Migration(2, "0002_b", "DROP TABLE a;")))
    [backup] = home.backups.glob("*.db")
    copy = connect(backup, key)
    assert copy.execute("SELECT x FROM a").fetchone()["x"] == "marker-in-backup"
    copy.close()
    assert b"marker-in-backup" not in backup.read_bytes()
    assert backup.stat().st_mode & 0o077 == 0


def test_migrations_are_numbered_without_gaps() -> None:
    migrations = known_migrations()
    assert [migration.version for migration in migrations] == list(range(1, len(migrations) + 1))


def _open_in_a_process(root: Path, results: multiprocessing.Queue[str]) -> None:
    home = Home(root)
    database = Database.open(home, open_keyring(home, MASTER))
    asyncio.run(database.write(lambda connection: lease(connection, str(os.getpid())), durable=True))
    database.close()
    results.put("done")


async def test_processes_that_start_at_once_share_one_new_database(home: Home) -> None:
    results = SPAWN.Queue()
    processes = [SPAWN.Process(target=_open_in_a_process, args=(home.root, results)) for _ in range(3)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == ["done"] * 3
    for process in processes:
        process.join()
    database = Database.open(home, open_keyring(home, MASTER))
    assert await leases(database) == sorted(str(process.pid) for process in processes)
    database.close()


# --- reading and writing ------------------------------------------------------------------------------


async def test_a_failing_write_takes_no_other_with_it(db: Database) -> None:
    def failing(connection: Connection) -> None:
        lease(connection, "half")
        raise LookupError("on purpose")

    hold = threading.Event()
    first = asyncio.ensure_future(db.write(lambda connection: hold.wait(10)))
    await asyncio.sleep(0)
    others = [asyncio.ensure_future(db.write(partial(lease, name=name))) for name in "ab"]
    bad = asyncio.ensure_future(db.write(failing, durable=True))
    last = asyncio.ensure_future(db.write(lambda connection: lease(connection, "c")))
    await asyncio.sleep(0)
    hold.set()
    await asyncio.gather(first, *others, last)
    with pytest.raises(LookupError, match="on purpose"):
        await bad
    assert await leases(db) == ["a", "b", "c"]


async def test_what_was_handed_over_is_written_before_closing(
    home: Home, keyring: Keyring, db: Database
) -> None:
    waiting = [asyncio.ensure_future(db.write(partial(lease, name=f"{n}"))) for n in range(100)]
    await asyncio.sleep(0)
    await asyncio.to_thread(db.close)
    await asyncio.gather(*waiting)
    again = Database.open(home, keyring)
    assert len(await leases(again)) == 100
    again.close()


async def test_a_write_whose_caller_left_is_still_made(db: Database) -> None:
    hold = threading.Event()
    first = asyncio.ensure_future(db.write(lambda connection: hold.wait(10)))
    left = asyncio.ensure_future(db.write(lambda connection: lease(connection, "a")))
    await asyncio.sleep(0)
    left.cancel()
    hold.set()
    await first
    await db.write(lambda connection: None)
    assert await leases(db) == ["a"]


async def test_another_process_that_holds_the_lock_means_away(
    home: Home, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portico.storage.engine.sqlcipher.BUSY_TIMEOUT_S", 0.1)
    database = Database.open(home, keyring)
    other = connect(home.database, keyring.current("database"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="BUSY"):
        await database.write(lambda connection: lease(connection, "a"))
    other.execute("ROLLBACK")
    await database.write(lambda connection: lease(connection, "b"))
    assert await leases(database) == ["b"]
    database.close()
    other.close()


async def test_nothing_readable_lies_in_the_files(home: Home, db: Database) -> None:
    marker = "a-marker-that-nobody-may-read"
    await db.write(lambda connection: lease(connection, marker), durable=True)
    files = [path for path in home.root.rglob("portico.db*") if path.is_file()]
    assert {"portico.db", "portico.db-wal"} <= {path.name for path in files}
    assert all(marker.encode() not in path.read_bytes() for path in files)
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


async def test_closing_ends_the_threads(db: Database) -> None:
    db.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("db-")]


async def test_a_durable_write_is_synced_and_another_one_is_not(db: Database) -> None:
    def level(connection: Connection) -> int:
        return int(connection.execute("PRAGMA synchronous").fetchone()[0])

    assert await db.write(level, durable=True) == FULL
    assert await db.write(level) == NORMAL


async def test_every_change_of_inbox_and_outbox_is_synced(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    write = db.write

    async def watched(work: Callable[[Connection], Any], *, durable: bool = False) -> Any:
        synced.append(durable)
        return await write(work, durable=durable)

    monkeypatch.setattr(db, "write", watched)
    await Inbox(db).claim("c", ("k",), "t", now=1)
    outbox, row = Outbox(db), NewRow("c", "t", 0, "send", "{}")
    where = {"account_key": "a", "chat_key": "c"}
    await outbox.prepare([row], now=1)
    await outbox.prepare_and_begin_first([row], rates=Rates(), now=1, **where)
    await outbox.back_to_ready(row.row_id, attempt=1, reason="429")
    await outbox.begin(row.row_id, attempt=2, rates=Rates(), now=1, **where)
    await outbox.repeat_marked(row.row_id, attempt=2)
    await outbox.repeat_keyed(row.row_id, attempt=3)
    await outbox.finish(row.row_id, attempt=3, state="sent", now=1)
    await outbox.hold(row.row_id)
    await outbox.prepare_sent([replace(row, part=1)], now=1)
    assert synced == [True] * 10
