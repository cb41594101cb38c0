from __future__ import annotations

import pytest

from portico.crypto.keyring import Keyring
from portico.errors import NotFound
from portico.storage.access import LOGIN_VALID_S, SESSION_VALID_S, Access
from portico.storage.engine.database import Database
from portico.storage.people import People


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access(db: Database, clock: Clock) -> Access:
    return Access(db, clock=clock)


async def test_an_unknown_or_revoked_key_is_nobody(access: Access) -> None:
    token = await access.create_key("service", "ci")
    [key] = await access.list()
    assert await access.check_key(token + "x") is None
    assert await access.check_key("") is None
    assert await access.check_key(token.removeprefix("pk_")) is None
    assert await access.revoke(key.id)
    assert not await access.revoke(key.id)
    assert await access.check_key(token) is None


async def test_a_key_tells_who_it_is(access: Access, db: Database, keyring: Keyring) -> None:
    owner = await People(db, keyring).ensure_owner()
    token = await access.create_key("owner", "cli", person_id=owner)
    principal = await access.check_key(token)
    assert token.startswith("pk_")
    assert principal is not None
    assert (principal.person_id, principal.role) == (owner, "owner")
    [key] = await access.list()
    assert principal.key_id == key.id


async def test_a_key_without_a_person_stands_for_its_own(
    access: Access, db: Database, keyring: Keyring
) -> None:
    principal = await access.check_key(await access.create_key("service", "ci"))
    assert principal is not None
    actor = await People(db, keyring).actor_of("web", "default", principal.person_id)
    assert (actor.role, actor.paired) == ("service", True)


async def test_tokens_are_not_in_the_database(access: Access, db: Database, keyring: Keyring) -> None:
    owner = await People(db, keyring).ensure_owner()
    tokens = [await access.create_key("service", "ci"), await access.make_login(owner)]
    session = await access.redeem_login(tokens[1])
    assert session is not None

    rows = await db.read(
        lambda connection: [
            tuple(row)
            for table in ("api_keys", "login_links", "sessions")
            for row in connection.execute(f"SELECT * FROM {table}")
        ]
    )
    assert rows
    assert not [row for row in rows for token in (*tokens, session) if token in row]


async def test_a_login_link_works_once_and_ten_minutes(
    access: Access, db: Database, keyring: Keyring, clock: Clock
) -> None:
    with pytest.raises(NotFound):
        await access.make_login("person-nobody")
    owner = await People(db, keyring).ensure_owner()
    old, link = await access.make_login(owner), await access.make_login(owner)
    session = await access.redeem_login(link)
    assert session is not None
    assert await access.redeem_login(link) is None
    clock.now += LOGIN_VALID_S
    assert await access.redeem_login(old) is None
    principal = await access.session(session)
    assert principal is not None
    assert (principal.person_id, principal.role, principal.key_id) == (owner, "owner", "")


async def test_a_session_lives_on_while_it_is_used(
    access: Access, db: Database, keyring: Keyring, clock: Clock
) -> None:
    session = await access.redeem_login(await access.make_login(await People(db, keyring).ensure_owner()))
    assert session is not None
    for _ in range(3):
        clock.now += SESSION_VALID_S - 1
        assert await access.session(session) is not None
    clock.now += SESSION_VALID_S
    assert await access.session(session) is None


async def test_an_ended_session_is_over(access: Access, db: Database, keyring: Keyring) -> None:
    session = await access.redeem_login(await access.make_login(await People(db, keyring).ensure_owner()))
    assert session is not None
    await access.end_session(session)
    assert await access.session(session) is None


async def test_a_deployments_own_key_is_taken_once_and_never_again(
    access: Access, db: Database, keyring: Keyring
) -> None:
    owner = await People(db, keyring).ensure_owner()
    token = "pk_" + "a" * 43
    assert await access.check_key(token) is None
    assert await access.adopt_key(token, "owner", "cli", person_id=owner)
    known = await access.check_key(token)
    assert known is not None and (known.person_id, known.role) == (owner, "owner")
    assert not await access.adopt_key(token, "owner", "cli", person_id=owner)
    assert await access.revoke(known.key_id)
    assert not await access.adopt_key(token, "owner", "cli", person_id=owner)
    assert await access.check_key(token) is None
    for none in ("", "secret", "pk_short", token + "b"):
        assert not await access.adopt_key(none, "owner", "cli", person_id=owner)
