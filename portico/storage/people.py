"""People, the identities that they write from, and how a new identity is admitted.

An unknown sender is a guest with a stable id. An owner approves a pairing code, or a one-time link makes the
sender the owner's own identity.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

from portico.contracts.messages import Actor
from portico.crypto.keyring import Keyring
from portico.errors import NotFound, TooMany
from portico.ids import keyed_id, person_id
from portico.storage.engine.database import Database
from portico.storage.engine.sqlcipher import Connection
from portico.storage.engine.values import Private, Sought
from portico.storage.guesses import count_wrong, forget_wrong, guessed_too_often, guesses_left_at

CODE_ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Without I, L, O, 0 and 1, which people mix up."""
CODE_LENGTH = 8
CODE_VALID_S = 3600.0
LINK_VALID_S = 600.0
OPEN_CODES = 100
"""Codes that may be open at once, so that strangers cannot fill the list."""
DIRECT_CHANNEL = "web"
"""Here the sender's id is a person's id, put there by the edge after it checked a session or a key."""


@dataclass(frozen=True)
class Pending:
    """A sender who waits to be admitted."""

    code: str
    channel: str
    account: str
    sender_id: str
    name: str
    chat: str
    expires_at: float


@dataclass(frozen=True)
class Identity:
    """From where a person writes; `chat` is where they were first met."""

    channel: str
    account: str
    sender_id: str
    person_id: str
    name: str
    chat: str


class People:
    def __init__(self, db: Database, keyring: Keyring) -> None:
        self._db = db
        self._id_key = keyring.current("id").secret

    async def actor_of(self, channel: str, account: str, sender_id: str) -> Actor:
        """The person behind a sender; an unknown one is an unpaired guest with an id that stays the same."""

        def work(connection: Connection) -> Actor | None:
            if channel == DIRECT_CHANNEL:
                return _actor(connection, sender_id)
            row = connection.execute(
                "SELECT person_id FROM identities WHERE channel = ? AND account = ? AND sender_id = ?",
                (channel, account, Sought(sender_id)),
            ).fetchone()
            return _actor(connection, row["person_id"]) if row is not None else None

        return await self._db.read(work) or Actor(id=self._guest_id(channel, account, sender_id))

    async def ensure_owner(self) -> str:
        """Id of the first owner, created once."""
        owner = "person-" + keyed_id(self._id_key, "first owner")

        def work(connection: Connection) -> str:
            row = connection.execute(
                "SELECT id FROM people WHERE role = 'owner' ORDER BY created_at LIMIT 1"
            ).fetchone()
            if row is not None:
                return str(row["id"])
            _add_person(connection, owner, role="owner", name="owner", now=0.0)
            return owner

        return await self._db.write(work, durable=True)

    async def identities_of(self, person: str) -> tuple[Identity, ...]:
        def work(connection: Connection) -> tuple[Identity, ...]:
            rows = connection.execute(
                "SELECT channel, account, sender_id, person_id, name, chat FROM identities "
                "WHERE person_id = ? ORDER BY created_at",
                (person,),
            )
            return tuple(Identity(*row) for row in rows)

        return await self._db.read(work)

    # --- pairing codes ----------------------------------------------------------------------------------

    async def offer_code(
        self, channel: str, account: str, sender_id: str, name: str, chat: str, *, now: float
    ) -> str:
        """The sender's code, the same while it is valid. Raises `TooMany` while too many are open."""
        code = "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH))
        offer = Pending(code, channel, account, sender_id, name, chat, now + CODE_VALID_S)
        return await self._db.write(lambda connection: _offer(connection, offer, now), durable=True)

    async def pending(self, now: float) -> tuple[Pending, ...]:
        def work(connection: Connection) -> tuple[Pending, ...]:
            return _pending(connection, "expires_at > ? ORDER BY expires_at", (now,))

        return await self._db.read(work)

    async def approve(self, code: str, *, role: str = "member", now: float, by: str = "") -> Actor:
        """Let the sender of a code in. Raises `NotFound`; `TooMany` after too many wrong codes by `by`."""
        guesser = f"approve:{by}"

        def work(connection: Connection) -> Actor | None:
            _refuse_guesser(connection, guesser, now)
            senders = _pending(connection, "code = ? AND expires_at > ?", (Sought(code.strip().upper()), now))
            if not senders:
                count_wrong(connection, guesser, now)
                return None
            sender = senders[0]
            person = self._guest_id(sender.channel, sender.account, sender.sender_id)
            _add_person(connection, person, role=role, name=sender.name, now=now)
            _add_identity(connection, sender, person, now)
            forget_wrong(connection, guesser)
            return _actor(connection, person)

        approved = await self._db.write(work, durable=True)
        if approved is None:
            raise NotFound("a valid pairing code like this one")
        return approved

    # --- the owner's own link ---------------------------------------------------------------------------

    async def owner_link_token(self, channel: str, account: str, *, now: float) -> str:
        """A one-time token (43 URL-safe characters), valid 10 minutes; only its hash is stored."""
        token = secrets.token_urlsafe(32)

        def work(connection: Connection) -> None:
            connection.execute("DELETE FROM owner_links WHERE expires_at <= ?", (now,))
            connection.execute(
                "INSERT INTO owner_links (token_hash, channel, account, expires_at) VALUES (?, ?, ?, ?)",
                (_hash(token), channel, account, now + LINK_VALID_S),
            )

        await self._db.write(work, durable=True)
        return token

    async def redeem_owner_link(
        self, token: str, channel: str, account: str, sender_id: str, name: str, *, now: float, chat: str = ""
    ) -> Actor | None:
        """Make the sender an identity of the owner; None for a wrong, used, old or foreign token."""
        owner = await self.ensure_owner()
        guesser = f"link:{channel}:{account}:{sender_id}"
        sender = Pending("", channel, account, sender_id, name, chat or sender_id, 0.0)

        def work(connection: Connection) -> Actor | None:
            if guessed_too_often(connection, guesser, now):
                return None
            taken = connection.execute(
                "DELETE FROM owner_links "
                "WHERE token_hash = ? AND channel = ? AND account = ? AND expires_at > ?",
                (_hash(token), channel, account, now),
            )
            if taken.rowcount != 1:
                count_wrong(connection, guesser, now)
                return None
            _add_identity(connection, sender, owner, now)
            return _actor(connection, owner)

        return await self._db.write(work, durable=True)

    def _guest_id(self, channel: str, account: str, sender_id: str) -> str:
        return person_id(self._id_key, channel=channel, account=account, sender=sender_id)


def _offer(connection: Connection, offer: Pending, now: float) -> str:
    connection.execute("DELETE FROM pairing_codes WHERE expires_at <= ?", (now,))
    same = (offer.channel, offer.account, Sought(offer.sender_id))
    waiting = _pending(connection, "channel = ? AND account = ? AND sender_id = ?", same)
    if waiting:
        return waiting[0].code
    row = connection.execute("SELECT count(*) AS open, min(expires_at) AS next FROM pairing_codes").fetchone()
    if row["open"] >= OPEN_CODES:
        raise TooMany("open pairing codes", retry_after_s=row["next"] - now)
    connection.execute(
        "INSERT INTO pairing_codes (code, channel, account, sender_id, name, chat, expires_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            Sought(offer.code),
            *same,
            Private(offer.name),
            Private(offer.chat),
            offer.expires_at,
        ),
    )
    return offer.code


def _pending(connection: Connection, where: str, values: tuple[Any, ...]) -> tuple[Pending, ...]:
    columns = "code, channel, account, sender_id, name, chat, expires_at"
    rows = connection.execute(f"SELECT {columns} FROM pairing_codes WHERE {where}", values)
    return tuple(Pending(*row) for row in rows)


def _refuse_guesser(connection: Connection, guesser: str, now: float) -> None:
    if guessed_too_often(connection, guesser, now):
        raise TooMany("wrong codes", retry_after_s=guesses_left_at(connection, guesser) - now)


def _add_person(connection: Connection, person: str, *, role: str, name: str, now: float) -> None:
    connection.execute(
        "INSERT INTO people (id, role, name, created_at) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET role = excluded.role",
        (person, role, Private(name), now),
    )


def _add_identity(connection: Connection, sender: Pending, person: str, now: float) -> None:
    same = (sender.channel, sender.account, Sought(sender.sender_id))
    connection.execute("DELETE FROM pairing_codes WHERE channel = ? AND account = ? AND sender_id = ?", same)
    connection.execute(
        "INSERT INTO identities (channel, account, sender_id, person_id, name, chat, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (channel, account, sender_id) "
        "DO UPDATE SET person_id = excluded.person_id, chat = excluded.chat",
        (*same, person, Private(sender.name), Private(sender.chat), now),
    )


def _actor(connection: Connection, person: str) -> Actor | None:
    row = connection.execute("SELECT id, role FROM people WHERE id = ?", (person,)).fetchone()
    return Actor(id=row["id"], role=row["role"], paired=True) if row is not None else None


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
