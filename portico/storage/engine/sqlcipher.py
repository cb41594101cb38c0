"""Opens connections to the embedded, encrypted database. Nothing is readable in its files without the key."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from sqlcipher3 import dbapi2

from portico.crypto.keyring import DataKey
from portico.errors import Misconfigured, Unavailable

DatabaseError = dbapi2.Error
BUSY_TIMEOUT_S = 10.0
_AWAY = tuple(
    "SQLITE_" + name for name in ("BUSY", "LOCKED", "FULL", "IOERR", "CANTOPEN", "READONLY", "NOMEM")
)


class Cursor(Protocol):
    """What the repositories use of an executed statement. Rows are read by column name or place."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """What the repositories use of a connection, whichever database is behind it."""

    @property
    def in_transaction(self) -> bool: ...
    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Cursor: ...
    def executemany(self, sql: str, values: Iterable[Sequence[Any]], /) -> Cursor: ...
    def backup(self, target: Any, /) -> None: ...
    def close(self) -> None: ...


def connect(path: Path, key: DataKey, *, reading: bool = False) -> Connection:
    """A connection for one thread, without implicit transactions. Raises `Misconfigured` for a wrong key."""
    _make_private(path)
    options = {"timeout": BUSY_TIMEOUT_S, "isolation_level": None, "cached_statements": 256}
    connection = dbapi2.connect(str(path), check_same_thread=False, **options)
    connection.execute("PRAGMA cipher_log_level = NONE")
    connection.execute(f"PRAGMA key = \"x'{key.secret.hex()}'\"")
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA foreign_keys = ON")
        if reading:
            connection.execute("PRAGMA query_only = ON")
    except dbapi2.DatabaseError as error:
        connection.close()
        raise _opening_error(path, error) from None
    connection.row_factory = dbapi2.Row
    opened: Connection = connection
    return opened


def is_away(error: BaseException) -> bool:
    """True where waiting may help: a lock, a full disk; False for a mistake in a statement."""
    name = str(getattr(error, "sqlite_errorname", "") or "")
    return any(name == known or name.startswith(known + "_") for known in _AWAY)


def unavailable(error: BaseException) -> Unavailable:
    return Unavailable("database", str(getattr(error, "sqlite_errorname", "") or type(error).__name__))


def _make_private(path: Path) -> None:
    """The write-ahead log and its index take over the mode of the file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _opening_error(path: Path, error: BaseException) -> Misconfigured | Unavailable:
    if getattr(error, "sqlite_errorname", "") == "SQLITE_NOTADB":
        return Misconfigured(
            f"the key of this Portico does not open {path}, or the file is damaged; "
            "put back the keyring.json that belongs to it, or restore a backup"
        )
    return unavailable(error)
