"""Tools that people ask for by name, and runs that wait for somebody's yes."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from tests.fakes.telegram import Sent
from tests.support import RunningStack
from tests.workflows.gate import PNG
from tests.workflows.harness import BOT, World, eventually, open_world

pytestmark = pytest.mark.asyncio(loop_scope="module")

FREE_TEXT = "Write a short poem about the rain in November"


def code_of(reply: Sent) -> str:
    found = re.search(r"/approve ([A-Z]{6})", reply.text)
    assert found is not None, reply.text
    return found[1]


def buttons(reply: Sent) -> list[str]:
    rows = reply.payload.get("reply_markup", {}).get("inline_keyboard", [])
    return [button["callback_data"] for row in rows for button in row]


async def owner(world: World) -> int:
    """A Telegram user who is the owner, in a private chat of their own."""
    sender = world.new_chat()
    await world.pair(sender, role="owner")
    return sender


async def member(world: World) -> int:
    sender = world.new_chat()
    await world.pair(sender)
    return sender


@pytest.fixture(autouse=True)
def _forget(world: World) -> None:
    world.gate.notes.clear()
    world.model.asked.clear()


# --- /tools and /tool --------------------------------------------------------------------------------


async def test_lists_what_a_person_may_use_and_why_not_the_rest(world: World) -> None:
    stranger, friend = world.new_chat(), await member(world)
    await world.say("/tools", chat=stranger)
    text = (await world.replies(stranger))[0].text
    assert re.search(r"calculator – .+\n", text)
    assert re.search(r"note – Write a note \(not for you: .+\)", text)
    await world.say("/tools", chat=friend)
    assert "note – Write a note (needs a yes first)" in (await world.replies(friend))[0].text


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("/tool calculator expression='6 * 7'", "= 42"),
        ("/tool calculator 6 * 7", "= 42"),
        ('/tool calculator {"expression": "6 * 7"}', "= 42"),
        ("/tool time place=“Tokyo”", "Tokyo"),
    ],
)
async def test_a_tool_is_called_by_name(world: World, text: str, answer: str) -> None:
    chat = world.new_chat()
    await world.say(text, chat=chat)
    assert answer in (await world.replies(chat))[0].text
    assert await world.letters(chat) == []


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("/tool", ["Name the tool"]),
        ("/tool calculater 1", ["no tool calculater", "Did you mean calculator?"]),
        ("/tool note times=often more=1", ["text: is missing", "more: no such parameter", "times: must be"]),
        ('/tool note text="open', ["is not closed"]),
        ("/tool calculator", ["expression: is missing", "/tool calculator expression=…"]),
    ],
)
async def test_what_is_wrong_is_told_and_nothing_runs(world: World, text: str, answers: list[str]) -> None:
    chat = world.new_chat()
    before = len(world.faults.called("authorize_tool"))
    await world.say(text, chat=chat)
    (reply,) = await world.replies(chat)
    assert all(answer in reply.text for answer in answers), reply.text
    assert len(world.faults.called("authorize_tool")) == before


async def test_a_picture_of_a_tool_comes_along(world: World) -> None:
    chat = world.new_chat()
    await world.say("/tool picture name='a dot.png'", chat=chat)
    said, shown = await world.replies(chat, 2)
    assert said.text == "Here it is."
    assert list(shown.files.values()) == [PNG]


async def test_pictures_of_a_models_tools_come_with_its_answer(world: World) -> None:
    chat = world.new_chat()
    world.model.call("picture", {"name": "one.png"}, ("picture", {"name": "two.png"}))
    world.model.say("Two pictures.")
    await world.say(FREE_TEXT, chat=chat)
    said, *shown = await world.replies(chat, 3)
    assert said.text == "Two pictures."
    assert [list(one.files.values()) for one in shown] == [[PNG], [PNG]]
    assert "one.png (image/png)" in world.model.asked[1]["messages"][-2]["content"]


# --- approvals -----------------------------------------------------------------------------------------


async def test_an_owner_is_asked_in_the_same_chat_and_says_yes_by_the_button(world: World) -> None:
    chat = await owner(world)
    asked = await world.say('/tool note text="buy milk"', chat=chat)
    (question,) = await world.replies(chat)
    assert "note wants to run" in question.text
    assert "buy milk" in question.text
    assert "it changes things; risk: low" in question.text
    code = code_of(question)
    assert buttons(question) == [f"/approve {code}", f"/deny {code}"]
    assert world.gate.notes == []
    await world.press(question, f"/approve {code}", sender=chat)
    texts = {one.text for one in (await world.replies(chat, 3))[1:]}
    assert texts == {"Yes noted: note runs now.", "noted: buy milk"}
    assert world.gate.notes == ["buy milk"]
    result = next(one for one in await world.replies(chat, 3) if one.text == "noted: buy milk")
    assert result.payload["reply_parameters"]["message_id"] == asked["message"]["message_id"]
    await world.say(f"/approve {code}", chat=chat)
    assert (await world.replies(chat, 4))[3].text == "That was approved before."
    assert world.gate.notes == ["buy milk"], "once"


async def test_a_no_is_told_and_nothing_runs(world: World) -> None:
    chat = await owner(world)
    await world.say("/tool note secret plans", chat=chat)
    code = code_of((await world.replies(chat))[0])
    await world.say(f"/deny {code.lower()}", chat=chat)
    texts = [one.text for one in (await world.replies(chat, 3))[1:]]
    assert any("No noted" in text for text in texts)
    assert any("may not run note" in text for text in texts)
    assert world.gate.notes == []
    await world.say(f"/approve {code}", chat=chat)
    assert (await world.replies(chat, 4))[3].text == "That was denied before."
    assert world.gate.notes == []


async def test_codes_that_nobody_gave_are_unknown(world: World) -> None:
    chat = await owner(world)
    await world.say("/approve BCDFGH", chat=chat)
    assert "wait for no yes named BCDFGH" in (await world.replies(chat))[0].text
    await world.say("/approve tool-nothing-0", chat=chat)
    assert "That is over" in (await world.replies(chat, 2))[1].text


async def test_in_a_group_a_member_may_not_answer_for_another_and_an_admin_may(world: World) -> None:
    group, asker, other, admin = -world.new_chat(), 921, 922, 923
    await world.pair(asker)
    await world.pair(other)
    await world.pair(admin, role="admin")
    await world.say_in_group(f"@{BOT} /tool post text=party", group=group, sender=asker)
    (question,) = await world.replies(group)
    code = code_of(question)
    await world.say_in_group(f"/approve@{BOT} {code}", group=group, sender=other)
    assert "You may not answer that" in (await world.replies(group, 2))[1].text
    assert world.gate.notes == []
    await world.say_in_group(f"/approve@{BOT} {code}", group=group, sender=admin)
    await world.replies(group, 4)
    assert world.gate.notes == ["party"]


async def test_a_member_says_yes_to_a_small_thing_of_their_own(world: World) -> None:
    chat = await member(world)
    await world.say("/tool note text=mine", chat=chat)
    (question,) = await world.replies(chat)
    await world.say(f"/approve {code_of(question)}", chat=chat)
    await world.replies(chat, 3)
    assert world.gate.notes == ["mine"]


async def test_a_member_may_not_say_yes_to_more_than_that_but_no(world: World) -> None:
    chat = await member(world)
    await world.say("/tool post text=news", chat=chat)
    code = code_of((await world.replies(chat))[0])
    await world.say(f"/approve {code}", chat=chat)
    assert "You may not answer that" in (await world.replies(chat, 2))[1].text
    assert world.gate.notes == []
    await world.say(f"/deny {code}", chat=chat)
    texts = [one.text for one in (await world.replies(chat, 4))[2:]]
    assert any("No noted" in text for text in texts)
    assert world.gate.notes == []


async def test_a_run_in_another_chat_is_answered_by_its_id(world: World) -> None:
    friend, boss = await member(world), await owner(world)
    await world.say("/tool post text=sundays", chat=friend)
    (question,) = await world.replies(friend)
    assert buttons(question) == [], "not theirs to press"
    found = re.search(r"/approve (tool-\S+)", question.text)
    assert found is not None, question.text
    stranger = world.new_chat()
    await world.say(f"/approve {found[1]}", chat=stranger)
    assert "You may not answer that" in (await world.replies(stranger))[0].text
    assert world.gate.notes == []
    await world.say(f"/approve {found[1]}", chat=boss)
    assert "Yes noted" in (await world.replies(boss))[0].text
    assert "posted: sundays" in (await world.replies(friend, 2))[1].text


async def test_a_stop_ends_what_waits_for_a_yes(world: World) -> None:
    chat = await owner(world)
    await world.say("/tool note text=never", chat=chat)
    code = code_of((await world.replies(chat))[0])
    await world.say("/stop", chat=chat)
    texts = {one.text for one in (await world.replies(chat, 3))[1:]}
    assert texts == {"Stopped.", "note was stopped."}
    await world.say(f"/approve {code}", chat=chat)
    assert "That is over" in (await world.replies(chat, 4))[3].text
    assert world.gate.notes == []


# --- a model asks ---------------------------------------------------------------------------------------


async def test_a_model_that_asks_for_a_writing_tool_waits_for_a_person(world: World) -> None:
    chat = await owner(world)
    world.model.call("note", {"text": "from the model"})
    world.model.say("It is noted.")
    await world.say(FREE_TEXT, chat=chat)
    (question,) = await world.replies(chat)
    assert "from the model" in question.text
    assert world.gate.notes == []
    await world.say(f"/approve {code_of(question)}", chat=chat)
    texts = [one.text for one in (await world.replies(chat, 3))[1:]]
    assert "It is noted." in texts
    assert world.gate.notes == ["from the model"]


async def test_a_model_whose_tool_was_denied_is_told_and_answers(world: World) -> None:
    chat = await owner(world)
    world.model.call("note", {"text": "from the model"})
    world.model.say("Then I do not.")
    await world.say(FREE_TEXT, chat=chat)
    (question,) = await world.replies(chat)
    await world.say(f"/deny {code_of(question)}", chat=chat)
    texts = [one.text for one in (await world.replies(chat, 3))[1:]]
    assert "Then I do not." in texts
    told = world.model.asked[1]["messages"][-1]
    assert told["role"] == "tool"
    assert "denied" in told["content"]
    assert world.gate.notes == []


async def test_neither_a_model_nor_a_tool_can_say_yes(world: World) -> None:
    chat = await owner(world)
    world.model.call("note", {"text": "sly"}, ("time", {"place": "/approve me"}), text="/approve BCDFGH")
    await world.say(FREE_TEXT, chat=chat)
    (question,) = await world.replies(chat)
    code = code_of(question)
    world.model.say(f"/approve {code}")
    await world.say(FREE_TEXT, chat=chat)
    assert (await world.replies(chat, 2))[1].text == f"/approve {code}"
    assert world.gate.notes == []
    world.model.say("Good.")
    await world.say(f"/approve {code}", chat=chat)
    await world.replies(chat, 4)
    assert world.gate.notes == ["sly"]


async def test_a_tool_that_a_person_may_not_use_is_not_offered(world: World) -> None:
    chat = world.new_chat()
    world.model.call("note", {"text": "x"})
    world.model.say("I cannot.")
    await world.say(FREE_TEXT, chat=chat)
    await world.replies(chat)
    assert "note" not in {tool["function"]["name"] for tool in world.model.asked[0]["tools"]}
    assert "no tool of that name is offered" in world.model.asked[1]["messages"][-1]["content"]
    assert world.gate.notes == []


# --- over a renewal --------------------------------------------------------------------------------------


async def test_continues_as_new_twice_with_an_answer_an_approval_and_a_queue_open(world: World) -> None:
    chat = await owner(world)
    here = world.ref_of(chat)
    world.gate.open.clear()
    world.model.call("note", {"text": "later"}, ("time", {"place": "Tokyo"}))
    await world.say(FREE_TEXT, chat=chat)
    (question,) = await world.replies(chat)
    await eventually(lambda: world.gate.waiting == 1)
    runs = [await world.run_id(chat)]
    for name in ("a", "b"):
        fault = world.faults.hang("deliver", when=lambda given: given.conversation == here)
        await world.say(f"/{name}1", chat=chat)
        await fault.reached.wait()
        await world.say(f"/{name}2", chat=chat)
        await world.handle(chat).signal("renew")
        fault.released.set()
        runs.append(await world.renewed(chat, runs[-1]))
        await world.replies(chat, 2 * len(runs) - 1)
    assert len(set(runs)) == 3
    world.model.say("Both done.")
    world.gate.open.set()
    await world.say(f"/approve {code_of(question)}", chat=chat)
    texts: list[Any] = [one.text for one in (await world.replies(chat, 7))[5:]]
    assert "Both done." in texts
    assert world.gate.notes == ["later"]
    brought = [line["content"] for line in world.model.asked[1]["messages"] if line["role"] == "tool"]
    assert brought[0] == "noted: later"
    assert "Tokyo" in brought[1]
    assert await world.letters(chat) == []


async def test_nobody_agrees_in_time(
    inner_stack: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("world")
    hours = {"approval_hours": 2 / 3600}
    async with open_world(inner_stack, home, tools=hours) as world, world.worker():
        chat = await owner(world)
        world.model.call("note", {"text": "late"})
        world.model.say("Nobody agreed.")
        await world.say(FREE_TEXT, chat=chat)
        code = code_of((await world.replies(chat))[0])
        assert (await world.replies(chat, 2))[1].text == "Nobody agreed."
        assert "nobody agreed in time" in world.model.asked[1]["messages"][-1]["content"]
        await world.say(f"/approve {code}", chat=chat)
        assert "That is over: it has expired" in (await world.replies(chat, 3))[2].text
        assert world.gate.notes == []


async def test_a_models_time_does_not_run_while_a_person_thinks(
    inner_stack: RunningStack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("world")
    async with open_world(inner_stack, home, tools={"plan_s": 2}) as world, world.worker():
        chat = await owner(world)
        world.model.call("note", {"text": "slowly"})
        world.model.call("calculator", {"expression": "1 + 1"})
        world.model.say("Both.")
        asked_at = time.monotonic()
        await world.say(FREE_TEXT, chat=chat)
        code = code_of((await world.replies(chat))[0])
        await eventually(lambda: time.monotonic() - asked_at > 2.5, what="the time that a model has")
        await world.say(f"/approve {code}", chat=chat)
        texts = [one.text for one in (await world.replies(chat, 3))[1:]]
        assert "Both." in texts
        assert "1 + 1 = 2" in world.model.asked[2]["messages"][-1]["content"]
