"""Who is heard: strangers, pairing by code and by link, groups; and that conversations never wait for each other."""

from __future__ import annotations

import re
import time

import pytest

from tests.workflows.harness import BOT, World, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_stranger_gets_a_pairing_code_and_nothing_else_until_somebody_approves_it(
    world: World,
) -> None:
    chat = world.new_chat()
    await world.say("/calc 1 + 1", chat=chat, account="paired")
    await world.say("/help", chat=chat, account="paired")
    first, second = await world.replies(chat, 2)
    found = re.search(r"pairing code is ([A-Z0-9-]+)", first.text)
    assert found is not None, first.text
    assert found.group(1) in second.text, "the same code while it is valid"
    assert [row.kind for row in await world.rows(chat, account="paired")] == ["pairing", "pairing"]
    await world.deps.people.approve(found.group(1), now=time.time())
    await world.say("/calc 1 + 1", chat=chat, account="paired")
    assert (await world.replies(chat, 3))[2].text == "1 + 1 = 2"


async def test_a_wrong_link_pairs_nobody(world: World) -> None:
    chat = world.new_chat()
    await world.say("/start wrong", chat=chat, account="paired")
    assert "not valid any more" in (await world.replies(chat))[0].text
    await world.say("/calc 1 + 1", chat=chat, account="paired")
    assert "pairing code" in (await world.replies(chat, 2))[1].text


async def test_the_owners_link_pairs_once(world: World) -> None:
    chat, thief = world.new_chat(), world.new_chat()
    token = await world.deps.people.owner_link_token("telegram", "paired", now=time.time())
    await world.say(f"/start {token}", chat=chat, account="paired")
    assert "paired now" in (await world.replies(chat))[0].text
    await world.say(f"/start {token}", chat=thief, account="paired")
    assert "not valid any more" in (await world.replies(thief))[0].text
    await world.say("/calc 1 + 1", chat=chat, account="paired")
    assert (await world.replies(chat, 2))[1].text == "1 + 1 = 2"


async def test_a_group_is_answered_only_where_a_paired_person_addresses_the_bot(world: World) -> None:
    group, known, stranger = -world.new_chat(), 911, 912
    await world.pair(known)
    await world.say_in_group("/calc 1 + 1", group=group, sender=known)
    await world.say_in_group(f"@{BOT} /calc 2 + 2", group=group, sender=stranger)
    asked = await world.say_in_group(f"@{BOT} /nothing", group=group, sender=known)
    (reply,) = await world.replies(group)
    assert "/nothing" in reply.text
    assert reply.payload["reply_parameters"]["message_id"] == asked["message"]["message_id"]
    await eventually(lambda: len(world.faults.called("authorize_inbound")) >= 3)
    assert len(world.telegram.texts(group)) == 1


async def test_conversations_never_wait_for_each_other(world: World) -> None:
    stuck, free = world.new_chat(), world.new_chat()
    fault = world.faults.hang("deliver", when=lambda given: given.conversation == world.ref_of(stuck))
    await world.say("/help", chat=stuck)
    await fault.reached.wait()
    for number in range(3):
        await world.say(f"/calc {number} + 100", chat=free)
    texts = [one.text for one in await world.replies(free, 3)]
    assert sorted(texts) == ["0 + 100 = 100", "1 + 100 = 101", "2 + 100 = 102"]
    assert world.telegram.texts(stuck) == []
    fault.released.set()
    await world.replies(stuck)


async def test_a_used_up_rate_is_waited_for_by_a_timer(world: World) -> None:
    chat = world.new_chat()
    for _ in range(3):
        await world.say("/help", chat=chat, account="limited")
    replies = await world.replies(chat, 3)
    assert replies[2].at - replies[0].at >= 0.45, "4 a second, one at once"
    assert not any(row.marked for row in await world.rows(chat, account="limited"))
