"""`POST /v1/messages`: stored once, answered on request, attachments encrypted before anything is acked."""

from __future__ import annotations

import base64
import os
import signal
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.api.conftest import MESSAGES_PER_MINUTE, EdgeStack


def attachment(content: bytes, **more: Any) -> dict[str, Any]:
    return {
        "name": "notes.txt",
        "media_type": "text/plain",
        "data": base64.b64encode(content).decode(),
        **more,
    }


def test_is_stored_at_once_and_answered_on_request(person: httpx2.Client) -> None:
    stored = person.post("/v1/messages", json={"text": "what is 6 * 7?", "conversation": "posted"})
    assert stored.status_code == 202
    assert {"id", "conversation", "turn", "history_url"} == set(stored.json())
    answered = person.post(
        "/v1/messages", params={"wait_s": 20}, json={"text": "what is 6 * 7?", "conversation": "posted"}
    )
    assert answered.status_code == 200
    assert "42" in answered.json()["reply"]["parts"][0]["text"]


def test_the_same_id_many_times_at_once_is_one_turn(edge: EdgeStack, person: httpx2.Client) -> None:
    body = {"id": uuid.uuid4().hex, "text": "what is 7 * 7?", "conversation": "repeated"}

    def post(_: int) -> Any:
        return person.post("/v1/messages", params={"wait_s": 30}, json=body).json()

    with ThreadPoolExecutor(8) as together:
        answers = list(together.map(post, range(8)))
    assert len({answer["turn"] for answer in answers}) == 1
    assert len({answer["reply"]["seq"] for answer in answers}) == 1
    said = person.get("/v1/conversations/repeated/messages").json()
    assert [line["role"] for line in said].count("user") == 1


def test_who_does_not_wait_is_told_the_one_turn_as_well(edge: EdgeStack, person: httpx2.Client) -> None:
    body = {"id": uuid.uuid4().hex, "text": "/help", "conversation": "repeated"}
    with ThreadPoolExecutor(8) as together:
        answers = list(together.map(lambda _: person.post("/v1/messages", json=body).json(), range(8)))
    assert len({answer["turn"] for answer in answers}) == 1


def test_a_question_for_a_yes_is_the_reply_and_its_answer_runs_the_tool(person: httpx2.Client) -> None:
    def say(text: str) -> Any:
        body = {"text": text, "conversation": "asked"}
        return person.post("/v1/messages", params={"wait_s": 20}, json=body).json()["reply"]

    (part,) = say("/tool files_delete path=nothing.txt")["parts"]
    assert part["type"] == "choices"
    assert "nothing.txt" in part["text"]
    yes = part["choices"][0]["value"]
    assert yes.startswith("/approve ")
    assert "Yes noted" in say(yes)["parts"][0]["text"]
    assert "approved before" in say(yes)["parts"][0]["text"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": ""},
        {"text": " \n"},
        {"text": "x" * 32_001},
        {"text": "x", "id": "with spaces"},
        {"text": "x", "id": ""},
        {"text": "x", "attachments": [{"data": "not base64!"}]},
        {"text": "x", "attachments": [{"data": "é"}]},
        {"text": "x", "attachments": [{"name": "no data"}]},
        {"text": "x", "attachments": [{"data": ""}] * 11},
        ["text"],
        "text",
        None,
    ],
)
def test_what_is_no_message_is_refused(person: httpx2.Client, body: object) -> None:
    answer = person.post("/v1/messages", json=body)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_attachment_over_its_limit_is_refused(person: httpx2.Client) -> None:
    body = {"text": "see this", "attachments": [attachment(os.urandom(20 * 1024 * 1024 + 1))]}
    answer = person.post("/v1/messages", json=body)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_an_attachment_is_stored_encrypted_and_named_in_the_reply(
    edge: EdgeStack, person: httpx2.Client
) -> None:
    content = f"the safe is behind the picture {uuid.uuid4().hex}".encode() * 50
    body = {"text": "", "conversation": "attached", "attachments": [attachment(content)]}
    before = set(files_below(edge))
    answer = person.post("/v1/messages", params={"wait_s": 20}, json=body)
    assert answer.status_code == 200
    assert "notes.txt" in answer.json()["reply"]["parts"][0]["text"]
    new = set(files_below(edge)) - before
    assert new, "nothing was stored"
    for path in files_below(edge):
        with open(path, "rb") as file:
            assert content[:40] not in file.read(), path


def files_below(edge: EdgeStack) -> list[str]:
    root = edge.running.home.blobs
    return [str(path) for path in root.rglob("*") if path.is_file()]


def test_nothing_is_acked_while_the_attachment_cannot_be_stored(
    edge: EdgeStack, person: httpx2.Client
) -> None:
    message_id = uuid.uuid4().hex
    body = {
        "id": message_id,
        "text": "x",
        "conversation": "no-store",
        "attachments": [attachment(b"content")],
    }
    edge.running.kill("s3", signal.SIGSTOP)
    try:
        answer = person.post("/v1/messages", json=body)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"]
    finally:
        edge.running.kill("s3", signal.SIGCONT)
    name = person.get("/v1/me").json()["person"]
    assert not edge.has_workflow("web", "default", f"{name}:no-store")
    assert person.post("/v1/messages", params={"wait_s": 20}, json=body).status_code == 200


def test_nothing_is_acked_while_temporal_hangs(edge: EdgeStack, person: httpx2.Client) -> None:
    edge.running.kill("temporal", signal.SIGSTOP)
    try:
        answer = person.post("/v1/messages", json={"text": "hello", "conversation": "hanging"})
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"]
    finally:
        edge.running.kill("temporal", signal.SIGCONT)


def test_a_stop_gets_through_when_too_much_was_said(edge: EdgeStack) -> None:
    with edge.person(edge.key("member", "wordy")) as wordy:
        while wordy.post("/v1/messages", json={"text": "and another thing"}).status_code == 202:
            pass
        assert wordy.post("/v1/messages", json={"text": "/stop"}).status_code == 202


def test_who_says_too_much_is_refused_before_the_ack(edge: EdgeStack) -> None:
    with edge.person(edge.key("member", "chatty")) as chatty:
        codes = [
            chatty.post("/v1/messages", json={"text": f"number {number}"}).status_code
            for number in range(MESSAGES_PER_MINUTE + 1)
        ]
    assert codes == [202] * MESSAGES_PER_MINUTE + [429]
