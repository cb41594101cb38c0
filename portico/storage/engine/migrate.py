"""Brings the database to the schema of this checkout: numbered SQL files, each applied once, in order."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlcipher3 import dbapi2

from portico.crypto.keyring import DataKey
from portico.errors import Misconfigured
from portico.logs import logger
from portico.settings.home import Home
from portico.storage.engine.sqlcipher import Connection, connect

MIGRATIONS = Path(__file__).parent / "migrations"
RESTORING = "portico_restoring"
"""A table that exists while a server's database is being restored."""
_TABLE = """CREATE TABLE IF NOT EXISTS schema_migrations
    (version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at REAL NOT NULL)"""

log = logger("storage")


@dataclass(frozen=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def known_migrations(folder: Path = MIGRATIONS) -> tuple[Migration, ...]:
    files = sorted(folder.glob("[0-9]*_*.sql"))
    return tuple(Migration(int(file.name.split("_")[0]), file.stem, file.read_text()) for file in files)


def bring_up_to_date(home: Home, key: DataKey, migrations: tuple[Migration, ...]) -> None:
    """Migrate, after a backup of what was there. Processes that start at once wait for each other.

    Raises `Misconfigured` where the database is newer than this checkout, or was migrated by other files.
    """
    with _alone(home):
        connection = connect(home.database, key)
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            applied = _applied(connection)
            missing = still_to_apply(
                applied,
                migrations,
                us="this checkout",
                mend=f"update with git pull, or put back a copy from {home.backups}",
                made=f"{home.database}; use another checkout",
            )
            if missing and applied:
                _back_up(connection, home, key, max(applied))
            for migration in missing:
                apply(connection, migration, begin="BEGIN IMMEDIATE", spoken=lambda statement: (statement,))
        finally:
            connection.close()


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    home.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(home.database.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _applied(connection: Connection) -> dict[int, str]:
    connection.execute(_TABLE)
    return {row["version"]: row["checksum"] for row in connection.execute("SELECT * FROM schema_migrations")}


def still_to_apply(
    applied: Mapping[int, str], known: tuple[Migration, ...], *, us: str, mend: str, made: str
) -> list[Migration]:
    """What the database lacks. Raises `Misconfigured`: it is newer than we know, or was made by other files.

    `us` is what is older then, `mend` what to do about it, `made` what other files made.
    """
    newest = known[-1].version
    if applied and max(applied) > newest:
        raise Misconfigured(
            f"the database is newer than {us} (schema {max(applied)}, known {newest}); {mend}"
        )
    for migration in known:
        if applied.get(migration.version, migration.checksum) != migration.checksum:
            raise Misconfigured(f"migration {migration.name} is not the one that made {made}")
    return [migration for migration in known if migration.version not in applied]


def apply(
    connection: Connection,
    migration: Migration,
    *,
    begin: str,
    spoken: Callable[[str], tuple[str, ...]],
    errors: tuple[type[Exception], ...] = (dbapi2.Error,),
) -> None:
    """All of a migration and its record, or nothing. `spoken` puts a statement into the words of the database.

    Raises `Misconfigured` where a statement fails: the tables are not what the record says, or there is no space.
    """
    connection.execute(begin)
    try:
        for statement in statements(migration.sql):
            for one in spoken(statement):
                connection.execute(one)
        connection.execute(
            "INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES (?, ?, ?, ?)",
            (migration.version, migration.name, migration.checksum, time.time()),
        )
        connection.execute("COMMIT")
    except errors as error:
        detail = str(error).strip().partition("\n")[0]
        raise Misconfigured(
            f"migration {migration.name} does not apply ({detail}): the database is as it was before, and is not what "
            "its record of migrations says, or has no space; mend that, or put back a backup"
        ) from error
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    log.info("storage.migrated", version=migration.version)


def statements(sql: str) -> Iterator[str]:
    """The statements of a file, without its comments."""
    statement = ""
    for line in sql.splitlines():
        if line.strip().startswith("--"):
            continue
        statement += line + "\n"
        if dbapi2.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement


def _back_up(connection: Connection, home: Home, key: DataKey, version: int) -> None:
    """A copy under the same key, taken while the database is in use."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    target = home.backups / f"portico-schema{version:04d}-{stamp}.db"
    copy = connect(target, key)
    try:
        connection.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE").fetchone()
    finally:
        copy.close()
    log.info("storage.backed_up", file=target.name)
