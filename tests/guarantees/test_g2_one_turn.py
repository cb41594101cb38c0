"""G2: one turn for each event, however often the platform repeats it, across restarts."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.guarantees.gateway import Gateway
from tests.guarantees.history import temporal
from tests.guarantees.platforms import attempt, new_chat, persist

pytestmark = pytest.mark.alone

FENCE = "/fence"


def answers_after_a_fence(gateway: Gateway, chat: int, *, fences: int = 1) -> list[str]:
    """What the chat has seen, once a later message is answered: by G3 any repeat would stand before it."""
    gateway.say(FENCE, chat=chat)
    gateway.bot.wait_until(
        lambda: sum(FENCE in text for text in gateway.bot.texts(chat)) >= fences, timeout_s=60
    )
    return [text for text in gateway.bot.texts(chat) if FENCE not in text]


async def turns_of(gateway: Gateway, chat: int) -> int:
    client = await temporal(gateway)
    return int(await client.get_workflow_handle(gateway.workflow_of(chat)).query("turns"))


async def terminate(gateway: Gateway, chat: int) -> None:
    client = await temporal(gateway)
    await client.get_workflow_handle(gateway.workflow_of(chat)).terminate("a test of repeats")


def test_an_update_told_fifty_times_at_once_is_one_turn(gateway: Gateway) -> None:
    chat = new_chat()
    update = gateway.bot.text("/once", chat=chat)
    with ThreadPoolExecutor(50) as pool:
        tries = [pool.submit(persist, gateway.bot, gateway.webhook, update) for _ in range(50)]
        assert all(one.result()[1] == 200 for one in tries), "a repeat is acked like the first"
    assert len(answers_after_a_fence(gateway, chat)) == 1
    assert asyncio.run(turns_of(gateway, chat)) == 2

    gateway.kill("worker", "api")
    for _ in range(5):
        persist(gateway.bot, gateway.webhook, update)
    assert len(answers_after_a_fence(gateway, chat, fences=2)) == 1

    asyncio.run(terminate(gateway, chat))
    persist(gateway.bot, gateway.webhook, update)
    assert len(answers_after_a_fence(gateway, chat, fences=3)) == 1
    assert asyncio.run(turns_of(gateway, chat)) == 1, "the conversation began again with the fence alone"


def test_a_repeat_that_meets_its_own_turn_is_no_second_one(gateway: Gateway) -> None:
    """Repeats that come while the first is still being answered, from before and after a kill of the worker."""
    chat = new_chat()
    update = gateway.bot.text("Write a short poem about the moon", chat=chat)
    persist(gateway.bot, gateway.webhook, update)
    gateway.stack.kill("worker")
    for _ in range(3):
        attempt(gateway.bot, gateway.webhook, update)
    gateway.stack.wait_ready("worker", timeout_s=60)
    persist(gateway.bot, gateway.webhook, update)
    answers = answers_after_a_fence(gateway, chat)
    unmarked = [text for text in answers if "possibly repeated" not in text]
    assert len(unmarked) <= 1
    assert answers
    assert asyncio.run(turns_of(gateway, chat)) == 2


def test_a_signed_webhook_told_twenty_times_at_once_is_one_turn(gateway: Gateway) -> None:
    chat = f"hook-{uuid.uuid4().hex[:8]}"
    with ThreadPoolExecutor(20) as pool:
        tries = [
            pool.submit(gateway.say_by_hook, "/once", chat=chat, message_id=f"{chat}-1") for _ in range(20)
        ]
        assert {one.result() // 100 for one in tries} == {2}
    assert gateway.say_by_hook(FENCE, chat=chat, message_id=f"{chat}-2") // 100 == 2
    told = gateway.receiver.wait_until(
        lambda: of_chat(gateway, chat) if any(FENCE in text for text in of_chat(gateway, chat)) else [],
        timeout_s=60,
    )
    assert len(told) == 2


def of_chat(gateway: Gateway, chat: str) -> list[str]:
    return [post.data["text"] for post in gateway.receiver.posts if post.data["chat"] == chat]


def test_a_posted_message_told_twenty_times_at_once_is_one_turn(gateway: Gateway) -> None:
    name, message_id = f"c-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    body = {"id": message_id, "conversation": name, "text": "/once"}
    with ThreadPoolExecutor(20) as pool:
        tries = [pool.submit(gateway.call, "POST", "/v1/messages?wait_s=50", body) for _ in range(20)]
        answers = [one.result() for one in tries]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body["turn"] for answer in answers}) == 1
    assert len({answer.body["reply"]["seq"] for answer in answers}) == 1
    again = gateway.call("POST", "/v1/messages", body)
    assert again.body["turn"] == answers[0].body["turn"]
    fence = gateway.call("POST", "/v1/messages?wait_s=50", {"conversation": name, "text": FENCE})
    assert fence.body["reply"]["seq"] == answers[0].body["reply"]["seq"] + 1


def test_a_frame_sent_twice_over_two_connections_is_one_turn(gateway: Gateway) -> None:
    name, message_id = f"c-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    frame = {"type": "message", "id": message_id, "text": "/once"}
    with chat_socket(gateway, name) as socket:
        socket.send(json.dumps(frame))
        socket.send(json.dumps(frame))
        acks = [next_of(socket, "ack"), next_of(socket, "ack")]
        assert {ack["id"] for ack in acks} == {message_id}
        first = next_of(socket, "reply")
    gateway.kill("api")
    with chat_socket(gateway, name, after=first["seq"]) as socket:
        socket.send(json.dumps(frame))
        assert next_of(socket, "ack")["turn"] == first["turn"]
        socket.send(json.dumps({"type": "message", "id": uuid.uuid4().hex, "text": FENCE}))
        fence = next_of(socket, "reply")
    assert fence["seq"] == first["seq"] + 1
    assert FENCE in fence["parts"][0]["text"]


@contextmanager
def chat_socket(gateway: Gateway, name: str, *, after: int = 0) -> Iterator[Any]:
    with connect(
        gateway.stack.url.replace("http", "ws", 1) + "/v1/chat",
        additional_headers={"authorization": f"Bearer {gateway.key}"},
        proxy=None,
    ) as socket:
        socket.send(json.dumps({"type": "hello", "after": after, "conversation": name}))
        yield socket


def next_of(socket: Any, kind: str) -> dict[str, Any]:
    """The next frame of a kind; others (status, delta) may stand before it."""
    while True:
        frame: dict[str, Any] = json.loads(socket.recv(timeout=60))
        assert frame["type"] != "error", frame
        if frame["type"] == kind:
            return frame
