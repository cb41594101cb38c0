"""PostgreSQL as the database of an installation that runs on more than one machine.

The repositories' statements are the same as for the embedded file. Marked values (`portico.storage.engine.values`) are
encrypted here, because the server's files are not ours: random AES-256-GCM for what is only read back,
deterministic AES-SIV for what is compared, keyed tokens for words. Writers take one advisory lock each
transaction, which gives the statements what they have in the embedded file: nobody writes between their lines.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import psycopg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from psycopg.adapt import AdaptersMap, Buffer, Dumper, Loader
from psycopg.pq import TransactionStatus

from portico.crypto.keyring import Keyring
from portico.errors import Misconfigured, Unavailable
from portico.storage.engine.postgres_schema import bring_up_to_date
from portico.storage.engine.sqlcipher import Connection, Cursor
from portico.storage.engine.values import Private, Sought, Words
from portico.storage.engine.words import words_of

CONNECT_TIMEOUT_S = 5
LOCK_TIMEOUT_S = 10
WRITERS_LOCK = 0x706F7274  # any number that no other program on this database uses
_CONTEXT = b"portico column v1|"
_SEALED, _EQUAL = "\x7fg:", "\x7fs:"
"""What begins a stored value; no plain text can, because the adapter escapes one that does."""
_TOKEN_BYTES = 12


class Row(tuple[Any, ...]):
    """A row read by place or by column name, as the repositories do."""

    _places: dict[str, int]

    def __getitem__(self, key: Any) -> Any:
        return tuple.__getitem__(self, self._places[key] if isinstance(key, str) else key)

    def keys(self) -> list[str]:
        return list(self._places)


class Ciphers:
    """Encrypts and decrypts single values under the keyring."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        secret = keyring.current("index").secret
        derive = HKDF(algorithm=SHA256(), length=64, salt=None, info=b"portico equal values v1")
        self._equal = AESSIV(derive.derive(secret))
        self._words = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"portico words v1").derive(secret)

    def seal(self, text: str) -> str:
        """An empty text stays empty: statements compare with ''."""
        if not text:
            return ""
        key = self._keyring.current("blob")  # the database key belongs to the embedded file and never changes
        sealed = key.encrypt(text.encode("utf-8", "surrogatepass"), context=_CONTEXT + key.id.encode())
        return f"{_SEALED}{key.id}:{base64.b64encode(sealed).decode()}"

    def equal(self, text: str) -> str:
        if not text:
            return ""
        sealed = self._equal.encrypt(text.encode("utf-8", "surrogatepass"), [_CONTEXT])
        return _EQUAL + base64.b64encode(sealed).decode()

    def open(self, stored: str) -> str:
        """The text. Raises `Misconfigured` for one of another key."""
        try:
            if stored.startswith(_SEALED):
                key_id, _, sealed = stored[len(_SEALED) :].partition(":")
                context = _CONTEXT + key_id.encode()
                plain = self._keyring.by_id(key_id).decrypt(base64.b64decode(sealed), context=context)
            elif stored.startswith(_EQUAL):
                plain = self._equal.decrypt(base64.b64decode(stored[len(_EQUAL) :]), [_CONTEXT])
            else:
                return stored
        except (InvalidTag, KeyError, ValueError):
            raise Misconfigured("the keys of this Portico do not open what the database holds") from None
        return plain.decode("utf-8", "surrogatepass")

    def tokens(self, text: str) -> list[str]:
        """Keyed tokens of the words, each once. Han text has no spaces: it is cut into pairs of characters."""
        return sorted({self._token(word) for word in words_of(text)})

    def _token(self, word: str) -> str:
        digest = hmac.digest(self._words, word.encode("utf-8", "surrogatepass"), "sha256")
        return base64.b64encode(digest[:_TOKEN_BYTES]).decode()


class PostgresConnection:
    """One connection, opened again by the next transaction after it was lost."""

    keyed_words = True

    def __init__(self, url: str, ciphers: Ciphers) -> None:
        self._url = url
        self._ciphers = ciphers
        self._inner = self._open()

    @property
    def in_transaction(self) -> bool:
        status = self._inner.info.transaction_status
        return not self._inner.closed and status is not TransactionStatus.IDLE

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Cursor:
        return _Cursor(self._inner.execute(_translated(sql), tuple(values) or None))

    def executemany(self, sql: str, values: Iterable[Sequence[Any]], /) -> Cursor:
        cursor = self._inner.cursor()
        cursor.executemany(_translated(sql), [tuple(one) for one in values])
        return _Cursor(cursor)

    def backup(self, target: Any, /) -> None:
        raise NotImplementedError("PostgreSQL is backed up with pg_dump")

    def close(self) -> None:
        self._inner.close()

    def reopen(self) -> None:
        """Nothing where the connection is whole. Raises `Unavailable`."""
        if self._inner.closed or self._inner.broken:
            self._inner.close()
            self._inner = self._open()

    def _open(self) -> psycopg.Connection[Any]:
        try:
            opened = psycopg.connect(
                self._url,
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_S,
                application_name="portico",
                row_factory=_rows,
            )
            opened.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'")
        except psycopg.Error as error:
            raise opening_error(error) from None
        _adapt(opened.adapters, self._ciphers)
        return opened


class Postgres:
    """The database behind one URL."""

    errors: tuple[type[Exception], ...] = (psycopg.Error,)

    def __init__(self, url: str, keyring: Keyring) -> None:
        self._url = url
        self._ciphers = Ciphers(keyring)

    def prepare(self) -> None:
        connection = self.connect(reading=False)
        try:
            bring_up_to_date(connection)
        finally:
            connection.close()

    def connect(self, *, reading: bool) -> Connection:
        return PostgresConnection(self._url, self._ciphers)

    def begin_writing(self, connection: Connection, *, durable: bool) -> None:
        _ours(connection).reopen()
        level = "on" if durable else "off"
        connection.execute(
            f"BEGIN; SET LOCAL synchronous_commit = {level}; SELECT pg_advisory_xact_lock({WRITERS_LOCK})"
        )

    def begin_reading(self, connection: Connection) -> None:
        _ours(connection).reopen()
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def is_away(self, error: BaseException) -> bool:
        """Lost connections, shutdown, too many connections, no space, lock and deadlock."""
        if not isinstance(error, psycopg.Error):
            return False
        state = error.sqlstate or ""
        lost = isinstance(error, psycopg.OperationalError) and not state
        return lost or state[:2] in ("08", "53", "57", "58") or state in ("40001", "40P01", "55P03")

    def unavailable(self, error: BaseException) -> Unavailable:
        state = getattr(error, "sqlstate", None)
        return Unavailable("database", str(state or type(error).__name__))


def opening_error(error: psycopg.Error) -> Misconfigured | Unavailable:
    """The server's own words stay out: they repeat the address and the user."""
    state = error.sqlstate or ""
    words = str(error)
    if state.startswith("28") or "authentication failed" in words:
        return Misconfigured("the database refused the user or the password of database.url")
    if state.startswith("3D") or "does not exist" in words:
        return Misconfigured("the database that database.url names does not exist; create it first")
    if isinstance(error, psycopg.ProgrammingError):
        return Misconfigured("database.url is not one: postgresql://USER:PASSWORD@HOST:PORT/NAME")
    return Unavailable("database", "nothing answers at database.url")


class _Cursor:
    """Returns no rows for statements without a result set."""

    def __init__(self, inner: psycopg.Cursor[Any]) -> None:
        self._inner = inner

    @property
    def rowcount(self) -> int:
        return self._inner.rowcount

    def fetchone(self) -> Any:
        return self._inner.fetchone() if self._inner.description else None

    def fetchall(self) -> list[Any]:
        return self._inner.fetchall() if self._inner.description else []

    def __iter__(self) -> Any:
        return iter(self._inner) if self._inner.description else iter(())


def _rows(cursor: psycopg.Cursor[Any]) -> Any:
    names = tuple(column.name for column in cursor.description or ())
    return _row_type(names)


@lru_cache(maxsize=256)
def _row_type(names: tuple[str, ...]) -> type[Row]:
    return type("Row", (Row,), {"_places": {name: place for place, name in enumerate(names)}})


@lru_cache(maxsize=512)
def _translated(sql: str) -> str:
    return sql.replace("%", "%%").replace("?", "%s") if "?" in sql else sql


def _ours(connection: Connection) -> PostgresConnection:
    assert isinstance(connection, PostgresConnection)
    return connection


def _adapt(adapters: AdaptersMap, ciphers: Ciphers) -> None:
    """Register adapters and loaders for marked values on a connection."""

    class PrivateDumper(Dumper):
        oid = psycopg.adapters.types["text"].oid

        def dump(self, obj: Any) -> Buffer:
            return ciphers.seal(str(obj)).encode()

    class SoughtDumper(PrivateDumper):
        def dump(self, obj: Any) -> Buffer:
            return ciphers.equal(str(obj)).encode()

    class WordsDumper(Dumper):
        oid = psycopg.adapters.types["text"].array_oid

        def dump(self, obj: Any) -> Buffer:
            return ("{" + ",".join(f'"{token}"' for token in ciphers.tokens(str(obj))) + "}").encode()

    class PlainDumper(PrivateDumper):
        """Text that the server cannot store, or that looks like a stored value, is encrypted."""

        def dump(self, obj: Any) -> Buffer:
            if "\0" in obj or obj.startswith("\x7f"):
                return ciphers.equal(obj).encode()
            return str(obj).encode("utf-8", "surrogatepass")

    class BoolDumper(Dumper):
        """The tables store booleans as 0 and 1."""

        oid = psycopg.adapters.types["int8"].oid

        def dump(self, obj: Any) -> Buffer:
            return b"1" if obj else b"0"

    class TextLoader(Loader):
        def load(self, data: Buffer) -> str:
            return ciphers.open(bytes(data).decode())

    for kind, dumper in (
        (Private, PrivateDumper),
        (Sought, SoughtDumper),
        (Words, WordsDumper),
        (bool, BoolDumper),
        (str, PlainDumper),
    ):
        adapters.register_dumper(kind, dumper)
    adapters.register_loader("text", TextLoader)
