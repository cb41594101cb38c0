"""Every step made to fail for good, in turn, and parts that are unavailable: what a turn does then."""

from __future__ import annotations

from datetime import timedelta

import pytest

from entrypoints.serve.worker import activities
from portico.errors import NotFound, Unavailable
from portico.storage.outbox_rows import OutboxRow
from tests.workflows.harness import World, eventually
from workflows import decide, options
from workflows.delivery import STATUS

pytestmark = pytest.mark.asyncio(loop_scope="module")

FREE_TEXT = "Write a short poem about the rain in November"
APOLOGY = "Something went wrong on my side"

WITH_APOLOGY = {
    "understand": "what can you do?",
    "authorize_model": FREE_TEXT,
    "retrieve": FREE_TEXT,
    "generate": FREE_TEXT,
    "offer_tools": "/tools",
    "look_up_tool": "/tool time",
}
WITHOUT_APOLOGY = {
    "normalize": "/help",
    "authorize_inbound": "/help",
    "authorize_egress": "/help",
    "authorize_approval": "/approve tool-0-0",
}
"""Nobody is known yet, or nothing may leave."""
OTHERWISE = {
    "deliver": "test_a_reply_that_cannot_be_delivered_is_a_dead_letter_and_apologized_for",
    "remember": "test_what_cannot_be_remembered_is_a_dead_letter_but_the_answer_stands",
    "collect": "test_an_attachment_that_cannot_be_stored_is_a_dead_letter_and_apologized_for",
    "offer_pairing": "test_pairing_that_fails_is_a_dead_letter",
    "redeem_pairing": "test_pairing_that_fails_is_a_dead_letter",
    "authorize_tool": "test_a_tool_run_whose_steps_fail_is_told_and_kept",
    "execute_tool": "test_a_tool_run_whose_steps_fail_is_told_and_kept",
    "record_dead_letter": "test_a_failing_dead_letter_does_not_end_the_conversation",
}


NOT_IN_A_CONVERSATION = {"authorize_callback", "post_callback"}
"""Nobody in a chat names an address for results; tests of the doors make these fail."""
UNNAMED = {None}
"""The one activity that stands for every tool: its fault is called `execute_tool` here."""


async def goes_on(world: World, chat: int) -> None:
    """The next message is answered."""
    world.faults.clear()
    before = len(world.telegram.texts(chat))
    await world.say("/calc 20 + 22", chat=chat)
    replies = await world.replies(chat, before + 1)
    assert "42" in replies[-1].text


async def test_every_activity_is_made_to_fail_here(world: World) -> None:
    names = {getattr(one, "__temporal_activity_definition").name for one in activities(world.deps)}
    names -= NOT_IN_A_CONVERSATION | UNNAMED
    assert names == set(WITH_APOLOGY) | set(WITHOUT_APOLOGY) | set(OTHERWISE)
    assert set(OTHERWISE.values()) <= set(globals())


@pytest.mark.parametrize("name", WITHOUT_APOLOGY)
async def test_a_step_that_fails_before_anybody_may_be_told_is_a_dead_letter(world: World, name: str) -> None:
    chat = world.new_chat()
    fault = world.faults.fail(name, RuntimeError("a bug"))
    await world.say(WITHOUT_APOLOGY[name], chat=chat)
    letter = await world.letter(chat)
    if name == "authorize_egress":
        await eventually(lambda: fault.met >= 2, what="the apology, which may not leave either")
    assert (letter.code, letter.cause) == ("internal", f"RuntimeError in {name}")
    assert letter.event_json
    assert world.telegram.texts(chat) == []
    await goes_on(world, chat)


@pytest.mark.parametrize("name", WITH_APOLOGY)
async def test_a_step_that_fails_for_good_is_a_dead_letter_and_apologized_for(
    world: World, name: str
) -> None:
    chat = world.new_chat()
    world.faults.fail(name, NotFound("something"))
    await world.say(WITH_APOLOGY[name], chat=chat)
    letter = await world.letter(chat)
    assert (letter.code, letter.cause) == ("not_found", "something was not found")
    assert letter.event_json
    (apology,) = await world.replies(chat)
    assert APOLOGY in apology.text
    assert letter.turn_id[:8] in apology.text
    await goes_on(world, chat)


async def test_a_reply_that_cannot_be_delivered_is_a_dead_letter_and_apologized_for(world: World) -> None:
    chat = world.new_chat()
    world.faults.fail("deliver", RuntimeError("a bug"), when=lambda given: given.kind == "reply")
    await world.say("/help", chat=chat)
    assert (await world.letter(chat)).code == "internal"
    (apology,) = await world.replies(chat)
    assert APOLOGY in apology.text
    await goes_on(world, chat)


async def test_an_apology_that_cannot_be_delivered_does_not_end_the_conversation(world: World) -> None:
    chat = world.new_chat()
    here = world.ref_of(chat)
    fault = world.faults.fail("deliver", RuntimeError("a bug"), when=lambda given: given.conversation == here)
    await world.say("/help", chat=chat)
    await world.letter(chat)
    await eventually(lambda: fault.met >= 2)
    await goes_on(world, chat)


async def test_a_failing_dead_letter_does_not_end_the_conversation(world: World) -> None:
    chat = world.new_chat()
    world.faults.fail("understand", RuntimeError("a bug"))
    fault = world.faults.fail("record_dead_letter", RuntimeError("another bug"))
    await world.say("what can you do?", chat=chat)
    await fault.reached.wait()
    await goes_on(world, chat)
    assert await world.letters(chat) == []


async def test_what_cannot_be_remembered_is_a_dead_letter_but_the_answer_stands(world: World) -> None:
    chat = world.new_chat()
    world.faults.fail("remember", RuntimeError("a bug"))
    await world.say("/help", chat=chat)
    letter = await world.letter(chat)
    assert letter.cause == "RuntimeError in remember"
    await goes_on(world, chat)
    assert APOLOGY not in "".join(world.telegram.texts(chat)), "it was answered"


async def test_an_attachment_that_cannot_be_stored_is_a_dead_letter_and_apologized_for(world: World) -> None:
    chat = world.new_chat()
    world.faults.fail("collect", RuntimeError("a bug"))
    document = {"file_id": "f1", "file_unique_id": "u1", "file_name": "a.pdf", "file_size": 3}
    await world.say("", chat=chat, document=document)
    await world.letter(chat)
    (apology,) = await world.replies(chat)
    assert APOLOGY in apology.text
    await goes_on(world, chat)


@pytest.mark.parametrize(("name", "text"), [("offer_pairing", "hello"), ("redeem_pairing", "/start abc")])
async def test_pairing_that_fails_is_a_dead_letter(world: World, name: str, text: str) -> None:
    chat = world.new_chat()
    world.faults.fail(name, RuntimeError("a bug"))
    await world.say(text, chat=chat, account="paired")
    letter = await world.letter(chat, account="paired")
    assert letter.cause == f"RuntimeError in {name}"
    world.faults.clear()
    await world.say("hello", chat=chat, account="paired")
    (reply,) = await world.replies(chat)
    assert "pairing code" in reply.text


@pytest.mark.parametrize("name", ["authorize_tool", "execute_tool"])
async def test_a_tool_run_whose_steps_fail_is_told_and_kept(world: World, name: str) -> None:
    chat = world.new_chat()
    world.faults.fail(name, RuntimeError("a bug"))
    await world.say("/calc 1 + 1", chat=chat)
    (reply,) = await world.replies(chat)
    assert "calculator" in reply.text
    assert "did not work" in reply.text
    letter = await world.letter(chat)
    assert letter.code == "tool_step_failed"
    assert letter.cause.startswith("RuntimeError in ")
    assert letter.event_json, "it can be tried again"
    await goes_on(world, chat)


async def test_a_tool_that_fails_by_itself_is_an_answer_and_no_dead_letter(world: World) -> None:
    chat = world.new_chat()
    await world.say("/calc 1 / 0", chat=chat)
    (reply,) = await world.replies(chat)
    assert "did not work" in reply.text
    await goes_on(world, chat)
    assert await world.letters(chat) == []


async def test_attention_ends_with_the_last_open_dead_letter(world: World) -> None:
    chat = world.new_chat()

    async def status() -> str:
        described = await world.handle(chat).describe()
        return str(described.typed_search_attributes.get(STATUS))

    world.faults.fail("understand", NotFound("something"))
    await world.say("what can you do?", chat=chat)
    letter = await world.letter(chat)

    async def asks_for_attention() -> bool:
        return await status() == "attention"

    await eventually(asks_for_attention)
    await world.deps.dead_letters.close(letter.id, "dropped")
    assert not await world.deps.dead_letters.any_open(letter.conversation_id)
    await world.intake.settle(letter.conversation_id)

    async def is_open() -> bool:
        return await status() == "open"

    await eventually(is_open)
    await world.intake.settle("conversation-that-never-was")
    await goes_on(world, chat)


# --- bugs in workflow code -----------------------------------------------------------------------------


async def test_a_bug_in_the_turn_lane_is_a_dead_letter_and_the_lane_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = world.new_chat()
    monkeypatch.setattr(decide, "decide_command", lambda message, language: 1 / 0)
    await world.say("/help", chat=chat)
    letter = await world.letter(chat)
    assert (letter.code, letter.cause) == ("ZeroDivisionError", "ZeroDivisionError")
    (apology,) = await world.replies(chat)
    assert APOLOGY in apology.text
    monkeypatch.undo()
    await goes_on(world, chat)


async def test_a_bug_in_the_arrival_lane_is_a_dead_letter_and_the_lane_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = world.new_chat()
    monkeypatch.setattr(decide, "is_stop", lambda message: dict[str, str]()["no such key"])
    await world.say("/help", chat=chat)
    assert (await world.letter(chat)).code == "KeyError"
    monkeypatch.undo()
    await goes_on(world, chat)


# --- a part is unavailable --------------------------------------------------------------------------------------


async def test_one_hiccup_is_repeated_on_the_spot(world: World) -> None:
    chat = world.new_chat()
    world.faults.calls.clear()
    world.faults.fail("understand", Unavailable("triton"), times=1)
    await world.say("what can you do?", chat=chat)
    await world.replies(chat)
    assert [(call.local, call.attempt) for call in world.faults.called("understand")] == [
        (True, 1),
        (True, 2),
    ]


async def test_a_step_that_hangs_is_waited_for_as_a_regular_activity(world: World) -> None:
    chat = world.new_chat()
    world.faults.calls.clear()
    world.faults.hang("understand")
    await world.say("what can you do?", chat=chat)
    await world.replies(chat)
    assert [call.local for call in world.faults.called("understand")] == [True, False]
    assert await world.letters(chat) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("normalize", "/help"),
        ("authorize_inbound", "/help"),
        ("understand", "what can you do?"),
        ("authorize_model", FREE_TEXT),
        ("offer_tools", FREE_TEXT),
        ("look_up_tool", "/tool time"),
        ("authorize_approval", "/approve tool-0-0"),
        ("retrieve", FREE_TEXT),
        ("generate", FREE_TEXT),
        ("authorize_egress", "/help"),
        ("deliver", "/help"),
        ("authorize_tool", "/calc 1 + 1"),
        ("remember", "/help"),
    ],
)
async def test_a_turn_waits_for_a_part_that_is_away_and_goes_on(world: World, name: str, text: str) -> None:
    chat = world.new_chat()
    world.faults.calls.clear()
    here = world.ref_of(chat)
    fault = world.faults.fail(
        name,
        Unavailable("a part"),
        times=2 if name in ("generate", "deliver") else 4,
        when=lambda given: getattr(given, "conversation", here) == here,
    )
    await world.say(text, chat=chat)
    await world.replies(chat)
    await eventually(lambda: fault.met == fault.times, what=f"{name} is repeated")
    await eventually(lambda: not world.faults.called(name)[-1].local, what="a regular activity")
    await goes_on(world, chat)
    assert len(world.telegram.texts(chat)) == 2
    assert await world.letters(chat) == []


async def test_stop_and_arrivals_stay_live_while_a_turn_waits(world: World) -> None:
    chat = world.new_chat()
    world.faults.fail("understand", Unavailable("triton"))
    await world.say("what can you do?", chat=chat)
    await eventually(lambda: any(not call.local for call in world.faults.called("understand")))
    await world.say("/help", chat=chat)
    await world.say("/stop", chat=chat)
    texts = [one.text for one in await world.replies(chat, 2)]
    assert "Stopped." in texts
    assert "private gateway" in "".join(texts), "what waited behind the stopped turn has its turn at once"
    await goes_on(world, chat)
    assert len(world.telegram.texts(chat)) == 3, "the stopped turn says nothing more"
    assert await world.letters(chat) == []


async def test_a_person_on_a_platform_is_told_that_the_work_waits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "NOTICE_AFTER", timedelta(seconds=0.5))
    chat = world.new_chat()
    world.faults.fail("understand", Unavailable("triton"))
    await world.say("what can you do?", chat=chat)
    (notice,) = await world.replies(chat)
    assert "waiting for a part of me" in notice.text
    world.faults.clear()
    replies = await world.replies(chat, 2)
    assert "waiting" not in replies[1].text
    rows = await world.rows(chat)
    assert [row.kind for row in rows] == ["notice", "reply"]
    assert all(row.decision_id for row in rows), "also a notice leaves by a decision only"


async def test_a_person_on_a_platform_is_told_that_a_model_takes_its_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "NOTICE_AFTER", timedelta(seconds=0.5))
    chat = world.new_chat()
    world.faults.fail("generate", Unavailable("the model"), times=1)
    world.model.say("The rain", " falls.", pause_s=0.2)
    await world.say(FREE_TEXT, chat=chat)
    texts = [one.text for one in await world.replies(chat, 2)]
    assert "still at it" in texts[0]
    assert texts[1] == "The rain falls."
    assert [row.kind for row in await world.rows(chat)] == ["notice", "reply"]


async def test_nobody_is_told_while_the_policy_itself_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "NOTICE_AFTER", timedelta(seconds=0.2))
    chat = world.new_chat()
    world.faults.fail("understand", Unavailable("triton"))
    fault = world.faults.fail("authorize_egress", Unavailable("OPA"))
    await world.say("what can you do?", chat=chat)
    await eventually(lambda: fault.met >= 4)
    assert world.telegram.texts(chat) == []
    world.faults.clear()
    await world.replies(chat, 2)


async def test_the_chat_page_gets_no_notice_among_its_replies(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options, "NOTICE_AFTER", timedelta(seconds=0.2))
    fault = world.faults.fail("understand", Unavailable("triton"), times=4)
    stored = await world.say_on_web("what can you do?", conversation="page-1")

    async def rows() -> list[OutboxRow]:
        return await world.rows("page-1", channel="web")

    (reply,) = await eventually(rows)
    assert fault.met == 4
    assert (reply.kind, reply.state, reply.turn_id) == ("reply", "sent", stored.turn_id)
