"""What a database that was put back from a backup has to know: until when it remembers.

A reply that was on its way when the copy was made may have been sent since. Its row is therefore one whose end
nobody knows, and delivery repeats it as it repeats every such one: under the platform's own key, or with a mark.
"""

from __future__ import annotations

from contextlib import closing

from portico.crypto.keyring import Keyring
from portico.settings.home import Home
from portico.storage.engine.migrate import RESTORING, bring_up_to_date, known_migrations
from portico.storage.engine.sqlcipher import Connection, connect


def mark_restored_file(home: Home, keyring: Keyring, *, made_at: float, now: float) -> None:
    """The embedded database of a home. Raises `Misconfigured` where it is newer, or not of this keyring."""
    key = keyring.current("database")
    bring_up_to_date(home, key, known_migrations())
    with closing(connect(home.database, key)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        mark_restored(connection, made_at=made_at, now=now)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = DELETE").fetchone()


def mark_restored_server(url: str, keyring: Keyring, *, made_at: float, now: float) -> None:
    """A PostgreSQL database whose rows are all there; from here on it may be used."""
    from portico.storage.engine.postgres import Ciphers, PostgresConnection
    from portico.storage.engine.postgres_schema import bring_up_to_date as bring_server_up_to_date

    connection = PostgresConnection(url, Ciphers(keyring))
    try:
        bring_server_up_to_date(connection, restoring=True)
        connection.execute("BEGIN")
        mark_restored(connection, made_at=made_at, now=now)
        connection.execute(f"DROP TABLE IF EXISTS {RESTORING}")
        connection.execute("COMMIT")
    finally:
        connection.close()


def mark_restored(connection: Connection, *, made_at: float, now: float) -> None:
    """In a transaction of the caller's."""
    connection.execute("INSERT INTO restores (made_at, restored_at) VALUES (?, ?)", (made_at, now))
    connection.execute("UPDATE outbox SET state = 'unknown' WHERE state = 'ready'")


def was_under_way(connection: Connection, conversation_id: str, turn_id: str) -> bool:
    """Whether a turn's event had arrived before this database was put back: the turn came out of the backup.

    A reply's own id may be its turn's with an ending.
    """
    restored = connection.execute("SELECT max(restored_at) AS at FROM restores").fetchone()
    if restored["at"] is None:
        return False
    claimed = connection.execute(
        "SELECT min(claimed_at) AS at FROM inbox WHERE conversation_id = ? AND turn_id = ?",
        (conversation_id, turn_id.partition(".")[0]),
    ).fetchone()
    return claimed["at"] is not None and bool(claimed["at"] < restored["at"])
