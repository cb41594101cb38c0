"""Which model answers: the next one where one fails, the one that a conversation has chosen, and who may choose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from tests.fakes.openai import FakeOpenAI, hang, status
from tests.support import RunningStack
from tests.workflows.harness import BOT, World, eventually, open_world

pytestmark = pytest.mark.asyncio(loop_scope="module")

FREE_TEXT = "Write a short poem about the rain in November"
NOBODY = "http://127.0.0.1:9/v1"


@pytest.fixture(scope="module")
def second() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as model:
        yield model


@pytest.fixture(scope="module")
def first() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as model:
        yield model


@pytest_asyncio.fixture(loop_scope="module")
async def world(
    inner_stack: RunningStack,
    tmp_path_factory: pytest.TempPathFactory,
    first: FakeOpenAI,
    second: FakeOpenAI,
    request: pytest.FixtureRequest,
) -> AsyncIterator[World]:
    """Two routes, a world for each test: a route that has failed is rested for a while."""
    for model in (first, second):
        model.clear_script()
        model.asked.clear()
    routes = {
        "first": route(getattr(request, "param", first.base_url)),
        "second": route(second.base_url),
        "far": route("http://127.0.0.1:8/v1") | {"locality": "cloud"},
    }
    home = tmp_path_factory.mktemp("world")
    async with open_world(inner_stack, home, llm={"routes": routes}) as made, made.worker():
        yield made


def route(base_url: str) -> dict[str, Any]:
    return {"kind": "openai", "base_url": base_url, "model": "tiny", "first_token_timeout_s": 1}


@pytest.mark.parametrize("world", [NOBODY], indirect=True)
async def test_a_dead_server_is_passed_over(world: World, second: FakeOpenAI) -> None:
    second.say("From the second.")
    chat = world.new_chat()
    await world.say(FREE_TEXT, chat=chat)
    assert (await world.replies(chat))[0].text == "From the second."
    tries = [call.given.route.name for call in world.faults.called("generate")]
    assert tries == ["first", "first", "second"]
    assert await world.letters(chat) == []


async def test_the_answer_says_which_route_wrote_it(
    world: World, first: FakeOpenAI, second: FakeOpenAI
) -> None:
    first.script("chat", status(500), status(500))
    second.say("From the second.")
    stored = await world.say_on_web(FREE_TEXT, conversation="page-2")

    async def row() -> Any:
        return await world.deps.outbox.of_turn(stored.turn_id)

    (said,) = await eventually(row)
    assert '"written_by":"second"' in said.payload.replace(" ", "")
    assert len(first.asked) == 2


async def test_one_that_says_nothing_in_time_is_passed_over(
    world: World, first: FakeOpenAI, second: FakeOpenAI
) -> None:
    first.script("chat", hang(), hang())
    second.say("From the second.")
    chat = world.new_chat()
    await world.say(FREE_TEXT, chat=chat)
    assert (await world.replies(chat))[0].text == "From the second."


async def test_what_a_broken_stream_had_said_is_replaced(
    world: World, first: FakeOpenAI, second: FakeOpenAI
) -> None:
    first.say("Half of ", "an answer", break_after=1)
    first.say("Half of ", "an answer", break_after=1)
    second.say("A whole answer.")
    chat = world.new_chat()
    await world.say(FREE_TEXT, chat=chat)
    assert (await world.replies(chat))[0].text == "A whole answer."
    assert len(world.telegram.texts(chat)) == 1


async def test_one_that_refuses_the_key_is_passed_over(
    world: World, first: FakeOpenAI, second: FakeOpenAI
) -> None:
    first.script("chat", status(401), status(401))
    second.say("From the second.")
    chat = world.new_chat()
    await world.say(FREE_TEXT, chat=chat)
    assert (await world.replies(chat))[0].text == "From the second."


async def test_the_last_one_is_waited_for(world: World, first: FakeOpenAI, second: FakeOpenAI) -> None:
    first.script("chat", status(500), status(500))
    second.script("chat", status(500), status(500), status(500))
    second.say("At last.")
    chat = world.new_chat()
    await world.say(FREE_TEXT, chat=chat)
    assert (await world.replies(chat, timeout_s=40))[0].text == "At last."
    assert await world.letters(chat) == []


# --- /model ----------------------------------------------------------------------------------------------


async def test_shows_the_routes_and_what_may_not_be_used(world: World) -> None:
    chat = world.new_chat()
    await world.say("/model", chat=chat)
    text = (await world.replies(chat))[0].text
    assert "first (tiny, on this machine) – in use" in text
    assert "second (tiny" in text
    assert "far: " in text
    assert "/model NAME" in text


async def test_a_chosen_route_answers_until_it_is_given_back(
    world: World, first: FakeOpenAI, second: FakeOpenAI
) -> None:
    chat = world.new_chat()
    await world.say("/model second", chat=chat)
    assert "second (tiny) answers here" in (await world.replies(chat))[0].text
    second.say("From the second.")
    await world.say(FREE_TEXT, chat=chat)
    assert (await world.replies(chat, 2))[1].text == "From the second."
    before = await world.run_id(chat)
    await world.handle(chat).signal("renew")
    await world.renewed(chat, before)
    second.say("Still the second.")
    await world.say(FREE_TEXT, chat=chat)
    assert (await world.replies(chat, 3))[2].text == "Still the second."
    await world.say("/model", chat=chat)
    assert "second (tiny, on this machine) – chosen by you" in (await world.replies(chat, 4))[3].text
    await world.say("/model auto", chat=chat)
    await world.replies(chat, 5)
    first.say("The first again.")
    await world.say(FREE_TEXT, chat=chat)
    assert (await world.replies(chat, 6))[5].text == "The first again."


async def test_other_conversations_keep_theirs(world: World, first: FakeOpenAI) -> None:
    chat, other = world.new_chat(), world.new_chat()
    await world.say("/model second", chat=chat)
    await world.replies(chat)
    first.say("From the first.")
    await world.say(FREE_TEXT, chat=other)
    assert (await world.replies(other))[0].text == "From the first."


async def test_what_is_not_there_or_not_allowed_is_told_with_the_reason(world: World) -> None:
    chat = world.new_chat()
    await world.say("/model nowhere", chat=chat)
    text = (await world.replies(chat))[0].text
    assert "nowhere cannot be used here (there is no such route)" in text
    assert "first, second" in text
    await world.say("/model far", chat=chat)
    assert "stays on this machine" in (await world.replies(chat, 2))[1].text


async def test_in_a_group_only_the_owner_or_an_admin_chooses(world: World) -> None:
    group, member, admin = -world.new_chat(), 911, 912
    await world.pair(member)
    await world.pair(admin, role="admin")
    await world.say_in_group(f"/model@{BOT} second", group=group, sender=member)
    assert "only the owner or an admin" in (await world.replies(group))[0].text
    await world.say_in_group(f"/model@{BOT} second", group=group, sender=admin)
    assert "answers here" in (await world.replies(group, 2))[1].text
    await world.say_in_group(f"/model@{BOT}", group=group, sender=member)
    assert "chosen" in (await world.replies(group, 3))[2].text
