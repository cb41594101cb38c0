from __future__ import annotations

import re

from hypothesis import assume, given
from hypothesis import strategies as st

from portico import ids

KEY = bytes(range(32))
TEXTS = st.text(st.characters(codec=None), max_size=30)
PARTS = st.lists(TEXTS, max_size=4)


@given(first=PARTS, second=PARTS)
def test_different_parts_give_different_ids(first: list[str], second: list[str]) -> None:
    assume(first != second)
    assert ids.keyed_id(KEY, *first) != ids.keyed_id(KEY, *second)


def test_parts_cannot_run_into_each_other() -> None:
    for first, second in ((("a", "b"), ("ab",)), (("a\x1f", "b"), ("a", "\x1fb")), (("", "a"), ("a", ""))):
        assert ids.keyed_id(KEY, *first) != ids.keyed_id(KEY, *second)


@given(chat=TEXTS)
def test_any_chat_has_an_id_of_one_form(chat: str) -> None:
    made = ids.conversation_id(KEY, channel="hook", account="default", chat=chat)
    assert re.fullmatch(r"conversation-[a-z2-7]{26}", made)
    assert made == ids.conversation_id(KEY, channel="hook", account="default", chat=chat)
    assert re.fullmatch(r"[0-9a-f]{32}", ids.ascii_key(chat))
    assert len(ids.dedup_digest(chat)) == 16


def test_ids_stay_as_they_are_for_ever() -> None:
    """These three are in databases and histories: a change here needs a migration, not a new expectation."""
    place = {"channel": "telegram", "account": "default"}
    assert ids.conversation_id(KEY, **place, chat="4711") == "conversation-bg2solgctek3tqhrp3tpbo6c4z"
    assert ids.person_id(KEY, **place, sender="4711") == "person-4x5ubuju2po3vn4gcfk4fpjypk"
    assert ids.tool_run_id("t1", 2) == "tool-t1-2"
    assert ids.dedup_digest("update:1").hex() == "ea9256262e9fd7f29b7c85aeb9a86e92"


def test_another_key_gives_another_id() -> None:
    assert ids.keyed_id(KEY, "a") != ids.keyed_id(bytes(32), "a")


def test_a_conversation_and_a_person_of_the_same_name_differ() -> None:
    conversation = ids.conversation_id(KEY, channel="c", account="a", chat="x")
    person = ids.person_id(KEY, channel="c", account="a", sender="x")
    assert conversation.split("-")[1] != person.split("-")[1]
