"""How people and programs prove who they are at the edge: API keys, one-time login links, sessions.

Only hashes of tokens are stored and looked up, so that no comparison tells how close a guess was.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from portico.errors import NotFound
from portico.storage.engine.database import Database
from portico.storage.engine.sqlcipher import Connection
from portico.storage.engine.values import Private

KEY_PREFIX = "pk_"
_TOKEN = re.compile(KEY_PREFIX + r"[A-Za-z0-9_-]{43}")
LOGIN_VALID_S = 600.0
SESSION_VALID_S = 30 * 86400.0
SESSION_TOUCH_S = 3600.0
"""A session's sliding end is written at most this often."""


@dataclass(frozen=True)
class Principal:
    """The authenticated caller. `key_id` is empty for a session."""

    person_id: str
    role: str
    key_id: str = ""


@dataclass(frozen=True)
class ApiKey:
    """An API key as it may be shown: without its token."""

    id: str
    person_id: str
    role: str
    name: str
    created_at: float
    revoked_at: float | None


class Access:
    def __init__(self, db: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._db = db
        self._clock = clock

    # --- API keys ---------------------------------------------------------------------------------------

    async def create_key(self, role: str, name: str, *, person_id: str = "") -> str:
        """A new key's token, shown once. Without a person it stands for itself (a service, a device)."""
        token = KEY_PREFIX + secrets.token_urlsafe(32)
        key_id = "key-" + secrets.token_hex(6)
        now = self._clock()
        await self._db.write(
            lambda connection: _insert_key(connection, (key_id, _hash(token), person_id, role, name), now),
            durable=True,
        )
        return token

    async def adopt_key(self, token: str, role: str, name: str, *, person_id: str) -> bool:
        """Take a token that was made elsewhere, such as a deployment's. False if it is malformed or already stored."""
        if not _TOKEN.fullmatch(token):
            return False
        key_id = "key-" + _hash(token)[:12]
        now = self._clock()

        def work(connection: Connection) -> bool:
            known = "SELECT 1 FROM api_keys WHERE token_hash = ?"
            if connection.execute(known, (_hash(token),)).fetchone() is not None:
                return False
            _insert_key(connection, (key_id, _hash(token), person_id, role, name), now)
            return True

        return await self._db.write(work, durable=True)

    async def check_key(self, token: str) -> Principal | None:
        if not token.startswith(KEY_PREFIX):
            return None
        digest = _hash(token)

        def work(connection: Connection) -> Principal | None:
            row = connection.execute(
                "SELECT person_id, role, id FROM api_keys WHERE token_hash = ? AND revoked_at IS NULL",
                (digest,),
            ).fetchone()
            return Principal(*row) if row is not None else None

        return await self._db.read(work)

    async def revoke(self, key_id: str) -> bool:
        """False where there is no such key, or it was revoked before."""
        now = self._clock()

        def work(connection: Connection) -> bool:
            change = "UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"
            return connection.execute(change, (now, key_id)).rowcount == 1

        return await self._db.write(work, durable=True)

    async def list(self) -> tuple[ApiKey, ...]:
        def work(connection: Connection) -> tuple[ApiKey, ...]:
            columns = "id, person_id, role, name, created_at, revoked_at"
            rows = connection.execute(f"SELECT {columns} FROM api_keys ORDER BY created_at, id")
            return tuple(ApiKey(*row) for row in rows)

        return await self._db.read(work)

    # --- login links and sessions -----------------------------------------------------------------------

    async def make_login(self, person_id: str) -> str:
        """A one-time token, valid 10 minutes. Raises `NotFound` for a person who is not known."""
        token = secrets.token_urlsafe(32)
        now = self._clock()

        def work(connection: Connection) -> None:
            if connection.execute("SELECT 1 FROM people WHERE id = ?", (person_id,)).fetchone() is None:
                raise NotFound(f"person {person_id}")
            connection.execute("DELETE FROM login_links WHERE expires_at <= ?", (now,))
            connection.execute(
                "INSERT INTO login_links (token_hash, person_id, expires_at) VALUES (?, ?, ?)",
                (_hash(token), person_id, now + LOGIN_VALID_S),
            )

        await self._db.write(work, durable=True)
        return token

    async def redeem_login(self, token: str) -> str | None:
        """A session's token for a login link; None where it is wrong, old or was used."""
        session = secrets.token_urlsafe(32)
        now = self._clock()

        def work(connection: Connection) -> bool:
            taken = connection.execute(
                "DELETE FROM login_links WHERE token_hash = ? AND expires_at > ? RETURNING person_id",
                (_hash(token), now),
            ).fetchone()
            if taken is None:
                return False
            connection.execute("DELETE FROM sessions WHERE seen_at <= ?", (now - SESSION_VALID_S,))
            connection.execute(
                "INSERT INTO sessions (token_hash, person_id, created_at, seen_at) VALUES (?, ?, ?, ?)",
                (_hash(session), taken["person_id"], now, now),
            )
            return True

        return session if await self._db.write(work, durable=True) else None

    async def session(self, token: str) -> Principal | None:
        """Who a session belongs to, with the role of today; it lives on for 30 days from its last use."""
        now = self._clock()
        digest = _hash(token)

        def work(connection: Connection) -> tuple[Principal, float] | None:
            row = connection.execute(
                "SELECT people.id, people.role, sessions.seen_at FROM sessions "
                "JOIN people ON people.id = sessions.person_id WHERE token_hash = ? AND seen_at > ?",
                (digest, now - SESSION_VALID_S),
            ).fetchone()
            return (Principal(row["id"], row["role"]), row["seen_at"]) if row is not None else None

        row = await self._db.read(work)
        if row is None:
            return None
        principal, seen_at = row
        if now - seen_at > SESSION_TOUCH_S:
            await self._touch(digest, now)
        return principal

    async def end_session(self, token: str) -> None:
        digest = _hash(token)

        def work(connection: Connection) -> None:
            connection.execute("DELETE FROM sessions WHERE token_hash = ?", (digest,))

        await self._db.write(work, durable=True)

    async def _touch(self, digest: str, now: float) -> None:
        def work(connection: Connection) -> None:
            connection.execute("UPDATE sessions SET seen_at = ? WHERE token_hash = ?", (now, digest))

        await self._db.write(work)


def _insert_key(connection: Connection, key: tuple[str, str, str, str, str], now: float) -> None:
    key_id, token_hash, person_id, role, name = key
    if not person_id:
        person_id = "person-" + key_id
        connection.execute(
            "INSERT INTO people (id, role, name, created_at) VALUES (?, ?, ?, ?)",
            (person_id, role, Private(name), now),
        )
    connection.execute(
        "INSERT INTO api_keys (id, token_hash, person_id, role, name, created_at) VALUES (?, ?, ?, ?, ?, ?)",
        (key_id, token_hash, person_id, role, Private(name), now),
    )


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
