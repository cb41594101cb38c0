from __future__ import annotations

import asyncio

import pytest

from portico.crypto.keyring import Keyring
from portico.errors import NotFound, TooMany
from portico.storage.engine.database import Database
from portico.storage.guesses import WRONG_ALLOWED
from portico.storage.people import CODE_ALPHABET, CODE_VALID_S, LINK_VALID_S, OPEN_CODES, People

ANN = ("telegram", "default", "4711")


@pytest.fixture
def people(db: Database, keyring: Keyring) -> People:
    return People(db, keyring)


async def offer(people: People, sender: str = "4711", now: float = 0) -> str:
    return await people.offer_code("telegram", "default", sender, "Ann", "chat-1", now=now)


async def test_an_unknown_sender_is_an_unpaired_guest(people: People) -> None:
    actor = await people.actor_of(*ANN)
    assert (actor.role, actor.paired) == ("guest", False)
    assert actor.id.startswith("person-")
    assert "4711" not in actor.id
    assert actor == await people.actor_of(*ANN)


async def test_a_wrong_code_lets_nobody_in(people: People) -> None:
    await offer(people)
    with pytest.raises(NotFound):
        await people.approve("AAAAAAAA", now=1)
    assert not (await people.actor_of(*ANN)).paired


async def test_an_old_code_lets_nobody_in(people: People) -> None:
    code = await offer(people)
    with pytest.raises(NotFound):
        await people.approve(code, now=CODE_VALID_S)


async def test_guessing_closes_the_door_even_for_the_right_code_and_only_for_the_guesser(
    people: People,
) -> None:
    code = await offer(people)
    for _ in range(WRONG_ALLOWED):
        with pytest.raises(NotFound):
            await people.approve("AAAAAAAA", now=1, by="mallory")
    with pytest.raises(TooMany):
        await people.approve(code, now=2, by="mallory")
    assert (await people.approve(code, now=2, by="owner")).paired


async def test_an_approved_sender_is_a_member_with_the_same_id(people: People) -> None:
    before = await people.actor_of(*ANN)
    code = await offer(people)
    approved = await people.approve(code.lower() + " ", now=1)
    assert (approved.role, approved.paired, approved.id) == ("member", True, before.id)
    assert await people.actor_of(*ANN) == approved
    [identity] = await people.identities_of(approved.id)
    assert (identity.sender_id, identity.chat, identity.name) == ("4711", "chat-1", "Ann")
    with pytest.raises(NotFound):
        await people.approve(code, now=2)


async def test_a_code_is_the_same_while_it_is_valid_and_another_one_afterwards(people: People) -> None:
    first = await offer(people, now=0)
    assert len(first) == 8
    assert set(first) <= set(CODE_ALPHABET)
    assert await offer(people, now=CODE_VALID_S - 1) == first
    assert [one.code for one in await people.pending(now=1)] == [first]
    assert await offer(people, now=CODE_VALID_S) != first
    assert await people.pending(now=10 * CODE_VALID_S) == ()


async def test_strangers_cannot_fill_the_list(people: People) -> None:
    for number in range(OPEN_CODES):
        await offer(people, sender=f"s{number}")
    with pytest.raises(TooMany):
        await offer(people, sender="one-more")
    assert await offer(people, sender="s1") == await offer(people, sender="s1")
    assert await offer(people, sender="one-more", now=CODE_VALID_S)


async def test_the_owner_is_made_once(people: People) -> None:
    owners = set(await asyncio.gather(*(people.ensure_owner() for _ in range(10))))
    assert len(owners) == 1
    actor = await people.actor_of("web", "default", owners.pop())
    assert (actor.role, actor.paired) == ("owner", True)


async def test_on_the_web_an_id_that_is_nobodys_is_a_guest(people: People) -> None:
    assert not (await people.actor_of("web", "default", "person-nobody")).paired


async def test_a_persons_id_means_nothing_on_other_channels(people: People) -> None:
    owner = await people.ensure_owner()
    assert not (await people.actor_of("hook", "default", owner)).paired


async def test_an_owners_link_works_once_for_its_account_and_ten_minutes(people: People) -> None:
    owner = await people.ensure_owner()
    token = await people.owner_link_token("telegram", "default", now=0)
    old = await people.owner_link_token("telegram", "default", now=-LINK_VALID_S)
    assert await people.redeem_owner_link(old, *ANN, "Ann", now=0) is None
    assert await people.redeem_owner_link(token, "telegram", "other", "4711", "Ann", now=1) is None
    redeemed = await people.redeem_owner_link(token, *ANN, "Ann", now=1)
    assert redeemed is not None
    assert (redeemed.id, redeemed.role) == (owner, "owner")
    assert await people.actor_of(*ANN) == redeemed
    assert await people.redeem_owner_link(token, "telegram", "default", "99", "Eve", now=2) is None


async def test_who_guesses_links_is_not_heard_any_more(people: People) -> None:
    token = await people.owner_link_token("telegram", "default", now=0)
    for number in range(WRONG_ALLOWED):
        assert await people.redeem_owner_link(f"wrong-{number}", *ANN, "Eve", now=1) is None
    assert await people.redeem_owner_link(token, *ANN, "Eve", now=2) is None
