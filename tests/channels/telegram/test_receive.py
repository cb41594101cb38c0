from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from channels.base import Account, RawRequest
from channels.telegram.channel import Telegram
from channels.telegram.settings import TelegramSettings
from portico.errors import Refused, Unreadable

PAYLOADS = Path(__file__).parent / "payloads"
SECRET = "a-secret_1"


@pytest.fixture
def channel() -> Telegram:
    return Telegram()


@pytest.fixture
def account() -> Account:
    settings = TelegramSettings(token="7001:token", secret=SECRET, bot_username="portico_test_bot")
    return Account("telegram", "garden", settings)


def request(body: bytes, secret: str | None = SECRET) -> RawRequest:
    headers = {"content-type": "application/json"}
    if secret is not None:
        headers["x-telegram-bot-api-secret-token"] = secret
    return RawRequest("POST", "/webhooks/telegram/garden", headers, {}, body)


def payload(name: str) -> bytes:
    return (PAYLOADS / f"{name}.json").read_bytes()


@pytest.mark.parametrize(
    "secret", [None, "", "a-secret_", "a-secret_1 ", "A-SECRET_1", "ä", "\udcff", "x" * 10_000]
)
def test_refuses_a_request_without_the_right_secret(
    channel: Telegram, account: Account, secret: str | None
) -> None:
    with pytest.raises(Refused):
        channel.receive(request(payload("private_text"), secret), account)


def test_refuses_before_it_reads_the_body(channel: Telegram, account: Account) -> None:
    with pytest.raises(Refused):
        channel.receive(request(b"not json", "wrong"), account)


def test_a_secret_is_derived_from_the_token_when_none_is_set(channel: Telegram) -> None:
    account = Account("telegram", "default", TelegramSettings(token="7001:token"))
    derived = account.settings.webhook_secret
    assert len(derived) == 64
    assert channel.receive(request(payload("private_text"), derived), account).events
    with pytest.raises(Refused):
        channel.receive(request(payload("private_text"), ""), account)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"update_id": "7"}',
        b'{"update_id": true}',
        b'{"update_id": 7',
        b"\xff\xfe",
        b'{"update_id": 7, "message": {"chat": {"id": 1}, "x": NaN}}',
        b'{"update_id": 7, "message": {"chat": {"id": 1}, "x": ' + b"[" * 900 + b"]" * 900 + b"}}",
        b"[" * 100_000,
        b'{"update_id": 7, "message": {"chat": {"id": 1}, "text": "\\ud800"}}',
    ],
)
def test_what_is_no_update_is_unreadable(channel: Telegram, account: Account, body: bytes) -> None:
    with pytest.raises(Unreadable):
        channel.receive(request(body), account)


@pytest.mark.parametrize("name", ["reaction", "unknown_kind", "button_without_message"])
def test_an_update_without_a_chat_of_ours_is_acked_and_counted(
    channel: Telegram, account: Account, name: str
) -> None:
    received = channel.receive(request(payload(name)), account)
    assert received.events == ()
    assert received.quiet == "unknown_kind"
    assert received.ack.status == 200


def test_a_message_becomes_one_event(channel: Telegram, account: Account) -> None:
    (event,) = channel.receive(request(payload("private_text")), account).events
    assert (event.channel, event.account, event.chat) == ("telegram", "garden", "501")
    assert event.dedup_keys == ("telegram:garden:900",)
    assert event.body == json.loads(payload("private_text"))


def test_a_topic_is_a_chat_of_its_own_and_a_reply_is_not(channel: Telegram, account: Account) -> None:
    (topic,) = channel.receive(request(payload("forum_topic")), account).events
    (reply,) = channel.receive(request(payload("group_reply_to_bot")), account).events
    assert topic.chat == "-100200300:77"
    assert reply.chat == "-100200300"


def test_attachments_are_named_before_anything_is_stored(channel: Telegram, account: Account) -> None:
    (event,) = channel.receive(request(payload("photo_with_caption")), account).events
    (photo,) = event.attachments
    assert (photo.platform_ref, photo.media_type, photo.size_bytes) == ("large", "image/jpeg", 90000)


def test_a_message_of_a_newer_shape_still_finds_its_conversation(channel: Telegram, account: Account) -> None:
    update: dict[str, Any] = json.loads(payload("private_text"))
    update["message"]["text"] = {"rich": ["text"]}
    (event,) = channel.receive(request(json.dumps(update).encode()), account).events
    assert event.chat == "501"
    with pytest.raises(Unreadable):
        channel.parse(event, account)
