"""The carried state: its size, its window of seen keys, and that newer and older ones are read."""

from __future__ import annotations

import time

from portico.contracts.messages import Actor, ConversationRef, Envelope, Message, Sender
from workflows.state import SEEN_LIMIT, ConversationState, QueuedTurn, SeenKeys, read_envelope

LIMIT_BYTES = 100_000


def conversation() -> ConversationRef:
    return ConversationRef(id="conversation-" + "a" * 26, channel="telegram", account="default", chat="42")


def turn(text: str, number: int) -> QueuedTurn:
    body = {"update_id": number, "message": {"message_id": number, "date": 1, "text": text}}
    return QueuedTurn(
        turn_id=f"{number:032x}",
        message=Message(id=str(number), sender=Sender(id="42", name="Ada"), text=text),
        actor=Actor(id="person-" + "b" * 26, role="member", paired=True),
        envelope=Envelope(dedup_keys=(f"telegram:default:{number}",), received_at=time.time(), body=body),
    )


def full_of_keys() -> SeenKeys:
    seen = SeenKeys()
    for number in range(SEEN_LIMIT):
        seen.add([f"telegram:default:{number}"])
    return seen


def test_a_key_leaves_the_window_when_two_thousand_newer_ones_came() -> None:
    seen = full_of_keys()
    assert not seen.add(["telegram:default:0"])
    assert seen.add(["new"])
    assert seen.add(["telegram:default:0"]), "it has left; the inbox still knows it"
    assert not SeenKeys.unpack(seen.pack()).add(["new"])


def test_a_repeat_under_another_name_is_a_repeat() -> None:
    seen = SeenKeys()
    assert seen.add(["event:1", "message:1"])
    assert not seen.add(["event:2", "message:1"])
    assert not seen.add(["event:2"]), "the other name is known as well"


def test_the_carried_state_stays_small_with_all_keys_and_a_queue() -> None:
    state = ConversationState(
        conversation=conversation(),
        queue=tuple(turn("明天下午三点在办公室见面，请带上合同。" * 10, number) for number in range(20)),
        seen=full_of_keys().pack(),
    )
    assert len(state.model_dump_json().encode()) < LIMIT_BYTES


def test_a_state_comes_back_as_it_was() -> None:
    state = ConversationState(
        conversation=conversation(), queue=(turn("hello", 1), turn("again", 2)), seen=full_of_keys().pack()
    )
    assert ConversationState.model_validate_json(state.model_dump_json()) == state


def test_what_is_no_envelope_becomes_the_body_of_one() -> None:
    assert read_envelope("words") == Envelope(body=["words"])
    assert read_envelope({"dedup_keys": 5}) == Envelope(body=[{"dedup_keys": 5}])
    assert read_envelope({"body": 1, "schema": 2}).schema_version == 2
