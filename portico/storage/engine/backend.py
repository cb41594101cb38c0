"""What `Database` needs of a database, whichever it is: connections, transactions, and what its errors mean."""

from __future__ import annotations

from typing import Protocol

from portico.crypto.keyring import DataKey, Keyring
from portico.errors import Unavailable
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.storage.engine.migrate import bring_up_to_date, known_migrations
from portico.storage.engine.sqlcipher import (
    Connection,
    DatabaseError,
    connect,
    is_away,
    unavailable,
)


class Backend(Protocol):
    """One database. Its connections belong to one thread each."""

    errors: tuple[type[Exception], ...]
    """What a statement raises."""

    def prepare(self) -> None:
        """Bring the schema up to date. Raises `Misconfigured`, or `Unavailable` where the server is unavailable."""

    def connect(self, *, reading: bool) -> Connection: ...

    def begin_writing(self, connection: Connection, *, durable: bool) -> None:
        """An exclusive write transaction: it sees every committed one and has no concurrent writer."""

    def begin_reading(self, connection: Connection) -> None:
        """A transaction that sees one state of the database."""

    def is_away(self, error: BaseException) -> bool:
        """True for a transient error; False for a mistake in a statement."""

    def unavailable(self, error: BaseException) -> Unavailable: ...


class Embedded:
    """The SQLCipher file of one home."""

    errors: tuple[type[Exception], ...] = (DatabaseError,)

    def __init__(self, home: Home, key: DataKey) -> None:
        self._home = home
        self._key = key

    def prepare(self) -> None:
        bring_up_to_date(self._home, self._key, known_migrations())

    def connect(self, *, reading: bool) -> Connection:
        return connect(self._home.database, self._key, reading=reading)

    def begin_writing(self, connection: Connection, *, durable: bool) -> None:
        # the level can only be set outside a transaction
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.execute("BEGIN IMMEDIATE")

    def begin_reading(self, connection: Connection) -> None:
        connection.execute("BEGIN")

    def is_away(self, error: BaseException) -> bool:
        return is_away(error)

    def unavailable(self, error: BaseException) -> Unavailable:
        return unavailable(error)


def choose(home: Home, keyring: Keyring, settings: Settings | None) -> Backend:
    """The database that the settings name; else the embedded one."""
    url = settings.database.url.get_secret_value() if settings and settings.database.url else ""
    if not url:
        return Embedded(home, keyring.current("database"))
    from portico.storage.engine.postgres import Postgres  # its driver is loaded only where it is used

    return Postgres(url, keyring)
