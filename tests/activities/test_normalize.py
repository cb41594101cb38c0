"""The first step of an event: claiming it, and reading it in whatever shape it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from activities.normalize import NormalizeSteps
from channels import registry
from entrypoints.serve.wiring import Foundation
from entrypoints.serve.worker import make_deps
from portico.contracts.messages import BlobRef, ConversationRef, Envelope, MessageKind
from portico.contracts.steps import NormalizeInput
from portico.crypto.keyring import open_keyring
from portico.errors import NotFound, Unavailable, Unreadable
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.storage.engine.database import Database
from tests.fakes.telegram import TOKEN, FakeTelegram
from tests.portico.servers import connections

PERSON = FakeTelegram()


@pytest.fixture
async def normalize(tmp_path: Path) -> AsyncIterator[Any]:
    home = Home(tmp_path)
    home.make()
    keyring = open_keyring(home)
    account = {"token": TOKEN, "bot_username": "bot"}
    settings = Settings.model_validate({"channels": {"telegram": {"default": account}}})
    database = Database.open(home, keyring)
    ground = Foundation(
        home=home,
        settings=settings,
        keyring=keyring,
        connections=connections(),
        database=database,
        resolve=str,
        accounts=registry.accounts(settings, str),
    )
    yield NormalizeSteps(make_deps(ground)).normalize
    database.close()


def given(envelope: Envelope, *, turn: str = "t1", account: str = "default") -> NormalizeInput:
    conversation = ConversationRef(id="c1", channel="telegram", account=account, chat="42")
    return NormalizeInput(conversation=conversation, turn_id=turn, envelope=envelope)


def said(text: str = "hello", **more: Any) -> Envelope:
    update = PERSON.text(text, **more)
    return Envelope(dedup_keys=(f"telegram:default:{update['update_id']}",), body=update)


@pytest.mark.parametrize(
    "body", [None, "words", 5, [], {}, {"update_id": 1, "message": {"text": 5}}], ids=str
)
async def test_refuses_what_it_does_not_understand(normalize: Any, body: Any) -> None:
    with pytest.raises(Unreadable):
        await normalize(given(Envelope(dedup_keys=("k",), body=body)))


async def test_the_cause_of_an_unreadable_event_tells_nothing_of_its_content(normalize: Any) -> None:
    with pytest.raises(Unreadable) as caught:
        await normalize(given(Envelope(body={"update_id": 1, "message": {"text": ["my secret"]}})))
    assert "secret" not in caught.value.message


async def test_an_event_of_an_account_that_was_removed_is_refused(normalize: Any) -> None:
    with pytest.raises(NotFound):
        await normalize(given(said(), account="removed"))


async def test_a_body_in_storage_that_is_away_is_waited_for(normalize: Any) -> None:
    with pytest.raises(Unavailable):
        await normalize(given(Envelope(body_blob=BlobRef(key="b", size_bytes=1))))


async def test_a_step_that_is_executed_again_recognizes_itself(normalize: Any) -> None:
    event = given(said())
    first = await normalize(event)
    assert first.message.text == "hello"
    assert first.message.kind is MessageKind.TEXT
    assert await normalize(event) == first


async def test_another_turn_with_a_known_key_is_a_repeat(normalize: Any) -> None:
    envelope = said()
    await normalize(given(envelope))
    repeat = await normalize(given(envelope, turn="t2"))
    assert (repeat.repeat, repeat.message) == (True, None)


async def test_events_that_need_no_turn_are_ignored_and_claim_nothing(normalize: Any) -> None:
    update = PERSON.text("hello")
    update["edited_message"] = update.pop("message")
    edited = Envelope(dedup_keys=("k",), body=update)
    assert (await normalize(given(edited))).ignored == "edited"
    assert not (await normalize(given(said().model_copy(update={"dedup_keys": ("k",)}), turn="t2"))).repeat


async def test_fields_of_a_newer_platform_are_passed_over(normalize: Any) -> None:
    envelope = said("hello", newer={"a": [1]}, quote={"text": "x", "position": 0})
    assert (await normalize(given(envelope))).message.text == "hello"
