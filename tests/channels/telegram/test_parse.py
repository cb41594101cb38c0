from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from channels.base import Account
from channels.telegram.channel import Telegram
from channels.telegram.parse import received
from channels.telegram.settings import TelegramSettings
from channels.telegram.wire import split_address
from portico.contracts.messages import Ignored, InboundEvent, Message, MessageKind
from portico.errors import Unreadable

PAYLOADS = Path(__file__).parent / "payloads"
ACCOUNT = Account("telegram", "garden", TelegramSettings(token="7001:token", bot_username="portico_test_bot"))
CHANNEL = Telegram()


def parsed(name: str, account: Account = ACCOUNT) -> Message | Ignored:
    (event,) = received(json.loads((PAYLOADS / f"{name}.json").read_bytes()), account).events
    return CHANNEL.parse(event, account)


def message(name: str, account: Account = ACCOUNT) -> Message:
    found = parsed(name, account)
    assert isinstance(found, Message)
    return found


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("edited", "edited"),
        ("from_a_bot", "bot"),
        ("service_message", "service_message"),
        ("anonymous_admin", "no_person"),
    ],
)
def test_ignores_what_is_no_turn(name: str, why: str) -> None:
    assert parsed(name) == Ignored(why=why)


def test_text() -> None:
    said = message("private_text")
    assert (said.id, said.kind, said.text) == ("11", MessageKind.TEXT, "what time is it in Lisbon?")
    assert (said.sender.id, said.sender.name, said.locale) == ("501", "Ada Byron", "en")
    assert (said.sent_at, said.group, said.addressed) == (1790000000.0, False, True)


def test_a_command_loses_the_bots_name() -> None:
    said = message("command")
    assert (said.kind, said.text) == (MessageKind.COMMAND, "/stop now")


def test_a_deep_link_pairs_and_only_in_private() -> None:
    said = message("start_with_token")
    assert (said.kind, said.text) == (MessageKind.PAIR, "abc-DEF_123")
    update = json.loads((PAYLOADS / "start_with_token.json").read_bytes())
    update["message"]["chat"] = {"id": -5, "type": "group"}
    (event,) = received(update, ACCOUNT).events
    in_group = CHANNEL.parse(event, ACCOUNT)
    assert isinstance(in_group, Message)
    assert (in_group.kind, in_group.addressed) == (MessageKind.COMMAND, False)


@pytest.mark.parametrize(
    ("name", "ref", "media_type", "text"),
    [
        ("photo_with_caption", "large", "image/jpeg", "my tomatoes"),
        ("voice", "v1", "audio/ogg", ""),
        ("document", "d1", "application/pdf", ""),
        ("location", "", "application/vnd.telegram.location", ""),
    ],
)
def test_media(name: str, ref: str, media_type: str, text: str) -> None:
    said = message(name)
    assert (said.kind, said.text) == (MessageKind.MEDIA, text)
    assert [(one.platform_ref, one.media_type) for one in said.attachments] == [(ref, media_type)]


@pytest.mark.parametrize(
    ("name", "addressed", "text"),
    [
        ("group_chatter", False, "who waters on Sunday?"),
        ("group_mention", True, "🌻👩‍🌾 , when did it rain?"),
        ("group_text_mention", True, "rain?"),
        ("group_reply_to_bot", True, "and tomorrow?"),
        ("group_command_for_another", False, "/help"),
        ("group_command_for_us", True, "/help"),
    ],
)
def test_in_groups_only_who_names_or_answers_the_bot_is_heard(name: str, addressed: bool, text: str) -> None:
    said = message(name)
    assert (said.group, said.addressed, said.text) == (True, addressed, text)


def test_replies_count_while_the_bots_name_is_unknown() -> None:
    nameless = Account("telegram", "garden", TelegramSettings(token="7001:token"))
    assert message("group_reply_to_bot", nameless).addressed
    assert not message("group_mention", nameless).addressed


def test_a_button_carries_its_value_or_its_label() -> None:
    assert (message("button").kind, message("button").text) == (MessageKind.BUTTON, "approve:yes")
    assert message("button_by_label").text == "The long one"


def test_an_address_is_a_chat_and_perhaps_a_topic() -> None:
    assert split_address("-100:7") == (-100, 7)
    assert split_address("5") == (5, None)
    assert split_address("@channel") == ("@channel", None)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
numbers = st.integers() | st.integers(0, 50)
entities = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["mention", "text_mention", "bot_command"]),
            "offset": numbers,
            "length": numbers,
        },
        optional={"user": st.just({"id": 7001})},
    ),
    max_size=4,
)
messages = st.fixed_dictionaries(
    {
        "message_id": numbers,
        "chat": st.fixed_dictionaries({"id": numbers, "type": st.sampled_from(["private", "group"])}),
    },
    optional={
        "from": st.fixed_dictionaries(
            {"id": numbers}, optional={"is_bot": st.booleans(), "first_name": st.text()}
        ),
        "date": numbers,
        "text": st.text()
        | st.sampled_from(["/start x", "/start@portico_test_bot", "🌻@portico_test_bot hi"]),
        "caption": st.text(),
        "entities": entities,
        "photo": st.lists(anything, max_size=2),
        "reply_to_message": anything,
        "document": anything,
        "reply_markup": anything,
        "message_thread_id": anything,
        "is_topic_message": anything,
    },
)
updates = st.fixed_dictionaries(
    {"update_id": numbers},
    optional={
        "message": messages | anything,
        "edited_message": messages | anything,
        "callback_query": st.fixed_dictionaries(
            {"id": st.text(), "from": st.just({"id": 1})},
            optional={"data": st.text(), "message": messages},
        )
        | anything,
    },
)


@given(updates | anything)
@example(
    {"update_id": 1, "message": {"message_id": 1, "chat": {"id": 1}, "from": {"id": 2}, "date": 10**400}}
)
def test_any_json_is_an_event_or_unreadable_and_nothing_else(update: Any) -> None:
    try:
        events = received(update, ACCOUNT).events
    except Unreadable:
        return
    for event in events:
        try:
            found = CHANNEL.parse(event, ACCOUNT)
        except Unreadable:
            continue
        assert isinstance(found, Message | Ignored)
        found.model_dump_json()


@given(st.dictionaries(st.text(max_size=8), anything, max_size=4))
def test_a_stored_body_of_any_shape_is_read_or_unreadable(body: dict[str, Any]) -> None:
    event = InboundEvent.model_construct(
        channel="telegram",
        account="garden",
        chat="1",
        dedup_keys=(),
        received_at=0.0,
        body=body,
        attachments=(),
    )
    with contextlib.suppress(Unreadable):
        CHANNEL.parse(event, ACCOUNT)


@given(before=st.text(), after=st.text())
def test_a_mention_is_cut_out_wherever_it_stands(before: str, after: str) -> None:
    text = f"{before} @portico_test_bot {after}"
    offset = len(f"{before} ".encode("utf-16-le")) // 2
    update = {
        "update_id": 1,
        "message": {
            "message_id": 1,
            "chat": {"id": -1, "type": "group"},
            "from": {"id": 2},
            "text": text,
            "entities": [{"type": "mention", "offset": offset, "length": 17}],
        },
    }
    (event,) = received(update, ACCOUNT).events
    found = CHANNEL.parse(event, ACCOUNT)
    assert isinstance(found, Message)
    assert found.addressed
    if not before.strip().startswith(("/", ",", ":")) and before.strip():
        assert found.text == f"{before}  {after}".strip()
