from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.base import Account, RawRequest
from channels.hook.channel import Hook
from channels.hook.settings import HookSettings
from portico.contracts.messages import (
    Choice,
    ChoicesPart,
    MessageKind,
    NotSent,
    Outgoing,
    Reply,
    Sent,
    TextPart,
    Unknown,
)
from portico.errors import Refused, Unreadable
from tests.channels.conftest import Configured
from tests.fakes.hook import SECRET, FakeReceiver, drop, message, sign, status

ACCOUNT = Account("hook", "shop", HookSettings(secret=SECRET))
CHANNEL = Hook()


@pytest.fixture
async def channel() -> AsyncIterator[Hook]:
    channel = Hook()
    yield channel
    await channel.close()


def request(body: bytes, headers: dict[str, str]) -> RawRequest:
    return RawRequest("POST", "/webhooks/hook/shop", headers, {}, body)


def signed(body: bytes, *, message_id: str = "msg-1", at: int | None = None) -> RawRequest:
    when = int(time.time()) if at is None else at
    signature = sign(SECRET, message_id=message_id, timestamp=when, body=body)
    headers = {"webhook-id": message_id, "webhook-timestamp": str(when), "webhook-signature": signature}
    return request(body, headers)


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,not base64!"},
        {"webhook-signature": "v1,AAAAA"},
        {"webhook-signature": "é"},
        {"webhook-signature": "\udcff"},
        {"webhook-signature": "v2,AAAA"},
        {"webhook-signature": "v1," + "A" * 100_000},
        {"webhook-id": "msg-2"},
        {"webhook-id": ""},
        {"webhook-id": "é"},
        {"webhook-id": "a\nb"},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "now"},
        {"webhook-timestamp": "nan"},
        {"webhook-timestamp": "inf"},
        {"webhook-timestamp": "1e999"},
        {"webhook-timestamp": "9" * 12},
        {"webhook-timestamp": "-1"},
        {"webhook-timestamp": "١٢"},
    ],
)
def test_refuses_headers_that_do_not_fit(changed: dict[str, str]) -> None:
    body, headers = message("hello")
    with pytest.raises(Refused):
        CHANNEL.receive(request(body, headers | changed), ACCOUNT)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_refuses_a_request_without_a_header(name: str) -> None:
    body, headers = message("hello")
    del headers[name]
    with pytest.raises(Refused):
        CHANNEL.receive(request(body, headers), ACCOUNT)


@pytest.mark.parametrize("off_s", [-301, 301, -100_000])
def test_refuses_what_is_stale_or_from_the_future(off_s: int) -> None:
    body, headers = message("hello", at=int(time.time()) + off_s + (2 if off_s > 0 else 0))
    with pytest.raises(Refused):
        CHANNEL.receive(request(body, headers), ACCOUNT)


def test_refuses_another_body_and_another_secret() -> None:
    body, headers = message("hello")
    with pytest.raises(Refused):
        CHANNEL.receive(request(body + b" ", headers), ACCOUNT)
    with pytest.raises(Refused):
        CHANNEL.receive(request(b"\xff", headers), ACCOUNT)
    other, others = message("hello", secret="whsec_" + base64.b64encode(b"x" * 32).decode())
    with pytest.raises(Refused):
        CHANNEL.receive(request(other, others), ACCOUNT)


@given(
    st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()),
    st.binary(),
)
def test_whatever_is_not_signed_is_refused(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(Refused):
        CHANNEL.receive(request(body, headers), ACCOUNT)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        b"",
        b"[]",
        b"{}",
        b'{"type": 1}',
        b'{"type": "message"}',
        b'{"type": "message", "timestamp": "2026-11-22T10:00:00Z", "data": []}',
        b'{"type": "message", "timestamp": "2026-11-22T10:00:00Z", "data": {"chat": "c", "sender": 1}}',
        b'{"type": "message", "timestamp": "2026-11-22T10:00:00Z", "data": {"chat": "", "sender": "s"}}',
        b'{"type": "message", "timestamp": "2026-11-22T10:00:00", "data": {"chat": "c", "sender": "s"}}',
        b'{"type": "message", "timestamp": "soon", "data": {"chat": "c", "sender": "s"}}',
    ],
)
def test_a_signed_body_of_the_wrong_shape_is_unreadable(body: bytes) -> None:
    try:
        request = signed(body)
        with pytest.raises(Unreadable):
            CHANNEL.receive(request, ACCOUNT)
    except Refused:
        assert body == b"\xff"  # the signature covers text only


def test_an_unknown_type_is_acked_and_counted() -> None:
    received = CHANNEL.receive(signed(b'{"type": "order.paid", "data": {}}'), ACCOUNT)
    assert (received.events, received.quiet, received.ack.status) == ((), "unknown_kind", 200)


def test_one_good_signature_among_broken_ones_is_enough() -> None:
    body, headers = message("hello")
    headers["webhook-signature"] = f"v1,AAAAA v1a,xyz nonsense {headers['webhook-signature']}"
    assert CHANNEL.receive(request(body, headers), ACCOUNT).events


def test_a_message_becomes_an_event_and_a_message() -> None:
    body, headers = message("/Help me", message_id="m7", chat="room", sender="ada")
    (event,) = CHANNEL.receive(request(body, headers), ACCOUNT).events
    assert (event.channel, event.account, event.chat, event.dedup_keys) == (
        "hook",
        "shop",
        "room",
        ("hook:shop:m7",),
    )
    said = CHANNEL.parse(event, ACCOUNT)
    assert (said.id, said.sender.id, said.text, said.kind) == ("m7", "ada", "/Help me", MessageKind.COMMAND)
    assert said.sent_at == int(headers["webhook-timestamp"])


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["type", "timestamp", "data", "x"]), anything | st.just("message")))
def test_any_signed_json_is_an_event_quiet_or_unreadable(body: dict[str, Any]) -> None:
    try:
        received = CHANNEL.receive(signed(json.dumps(body).encode()), ACCOUNT)
    except Unreadable:
        return
    for event in received.events:
        CHANNEL.parse(event, ACCOUNT)


# --- the way out -----------------------------------------------------------------------------------


def outgoing(reply: Reply | None = None) -> Outgoing:
    (one,) = CHANNEL.render(reply or Reply.of_text("hello", quotes="m7"))
    return one.model_copy(update={"chat": "room"})


async def test_without_a_reply_url_nothing_is_sent(channel: Hook) -> None:
    outcome = await channel.send(outgoing(), ACCOUNT, key="k1")
    assert isinstance(outcome, NotSent)
    assert outcome.permanent


@pytest.mark.parametrize("code", [302, 400, 401, 410])
async def test_a_refusal_is_permanent(
    channel: Hook, receiver: FakeReceiver, hook_account: Configured, code: int
) -> None:
    receiver.script("reply", status(code))
    outcome = await channel.send(outgoing(), hook_account(), key="k1")
    assert isinstance(outcome, NotSent)
    assert outcome.permanent


async def test_what_may_have_arrived_is_unknown(
    channel: Hook, receiver: FakeReceiver, hook_account: Configured
) -> None:
    receiver.script("reply", status(503, taken=True), drop())
    assert isinstance(await channel.send(outgoing(), hook_account(), key="k1"), Unknown)
    assert isinstance(await channel.send(outgoing(), hook_account(), key="k1"), Unknown)
    assert isinstance(await channel.send(outgoing(), hook_account(), key="k1"), Sent)
    assert len(receiver.posts) == 3
    assert len(receiver.replies) == 1


async def test_a_closed_door_is_not_sent(channel: Hook, hook_account: Configured) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        account = hook_account(reply_url=f"http://127.0.0.1:{taken.getsockname()[1]}/x")
        outcome = await channel.send(outgoing(), account, key="k1")
    assert isinstance(outcome, NotSent)
    assert not outcome.permanent


async def test_a_reply_is_signed_and_carries_its_key(
    channel: Hook, receiver: FakeReceiver, hook_account: Configured
) -> None:
    part = ChoicesPart(text="Which?", choices=(Choice(label="A", value="a"), Choice(label="B", value="b")))
    reply = outgoing(Reply(parts=(TextPart(text="hi"), part), quotes="m7"))
    reply = reply.model_copy(update={"turn": "turn-1"})
    assert await channel.send(reply, hook_account(), key="k1") == Sent(platform_id="k1")
    (post,) = receiver.replies
    assert (post.id, post.verified, post.body["type"]) == ("k1", True, "reply")
    assert post.data["text"] == "hi\n\nWhich?\n1. A\n2. B"
    assert (post.data["chat"], post.data["reply_to"], post.data["turn"]) == ("room", "m7", "turn-1")
    assert [one["type"] for one in post.data["parts"]] == ["text", "choices"]
