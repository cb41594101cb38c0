"""`/v1/chat` by its documented protocol: who may, what is refused, what is never lost and never twice."""

from __future__ import annotations

import json
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.api.conftest import EdgeStack

MIB = 1024 * 1024
QUESTION, ANSWER = "what is 6 * 7?", "42"
Frame = dict[str, Any]


class Chat:
    """A client of the chat socket that keeps all frames it got."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.frames: list[Frame] = []

    def send(self, **frame: Any) -> None:
        self.socket.send(json.dumps(frame))

    def say(self, text: str, message_id: str = "") -> str:
        message_id = message_id or uuid.uuid4().hex
        self.send(type="message", id=message_id, text=text)
        return message_id

    def wait(self, true: Callable[[Frame], bool], *, timeout_s: float = 20) -> Frame:
        """The next frame of this kind."""
        end = time.monotonic() + timeout_s
        while True:
            frame: Frame = json.loads(self.socket.recv(timeout=max(0.01, end - time.monotonic())))
            self.frames.append(frame)
            if true(frame):
                return frame

    def wait_for(self, kind: str, **fields: Any) -> Frame:
        return self.wait(
            lambda frame: frame["type"] == kind and all(frame.get(key) == fields[key] for key in fields)
        )

    def closed(self) -> int:
        """Read to the end; gives the close code."""
        try:
            while True:
                self.frames.append(json.loads(self.socket.recv(timeout=10)))
        except ConnectionClosed as end:
            return end.rcvd.code if end.rcvd else 1006


def text_of(reply: Frame) -> str:
    return " ".join(part.get("text", "") for part in reply["parts"])


@contextmanager
def opened(
    edge: EdgeStack, *, key: str | None = None, headers: dict[str, str] | None = None
) -> Iterator[Chat]:
    known = {"Authorization": f"Bearer {key or edge.owner_key}"} if headers is None else headers
    url = edge.url.replace("http://", "ws://") + "/v1/chat"
    with connect(url, additional_headers=known, max_size=4 * MIB, proxy=None) as socket:
        yield Chat(socket)


@contextmanager
def chatting(edge: EdgeStack, conversation: str, *, after: int = 0, key: str | None = None) -> Iterator[Chat]:
    with opened(edge, key=key or edge.key_of(conversation)) as chat:
        chat.send(type="hello", after=after, conversation=conversation)
        chat.wait_for("hello")
        yield chat


@pytest.fixture
def name() -> str:
    return f"c-{uuid.uuid4().hex[:12]}"


# --- who may -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer pk_forged"},
        {"Authorization": "Basic x"},
        {"Cookie": "portico_session=x"},
    ],
)
def test_nobody_without_key_or_session(edge: EdgeStack, headers: dict[str, str]) -> None:
    with opened(edge, headers=headers) as chat:
        assert chat.closed() == 4401
        assert [frame["code"] for frame in chat.frames] == ["refused"]


def session_headers(edge: EdgeStack, owner: httpx2.Client, origin: str) -> dict[str, str]:
    with edge.browser(owner) as browser:
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    return {"Cookie": cookies, "Origin": origin}


def test_a_session_opens_it_from_its_own_page(edge: EdgeStack, owner: httpx2.Client) -> None:
    with opened(edge, headers=session_headers(edge, owner, edge.url)) as chat:
        chat.send(type="hello", after=0, conversation=None)
        assert chat.wait_for("hello")["conversation"] == "main"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_a_session_does_not_open_it_from_another_site(
    edge: EdgeStack, owner: httpx2.Client, origin: str
) -> None:
    with opened(edge, headers=session_headers(edge, owner, origin)) as chat:
        assert chat.closed() == 4401


# --- frames ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        "",
        "not json",
        "[]",
        "null",
        '{"type":"message","id":"1","text":"x"}',
        '{"type":"hello","after":-1}',
        '{"type":"hello","after":1e400}',
        '{"type":"hello","after":36893488147419103232}',
        '{"type":"hello","after":0,"conversation":"../other"}',
        '{"type":"hello","after":0,"conversation":7}',
        b'{"type":"hello"}',
    ],
)
def test_the_first_frame_is_a_hello(edge: EdgeStack, first: str | bytes) -> None:
    with opened(edge) as chat:
        chat.socket.send(first)
        assert chat.closed() == 4400
        assert [frame["type"] for frame in chat.frames] == ["error"]


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "not json",
        "[1]",
        b"\x00\x01",
        '{"type":"nothing"}',
        "{}",
        '{"type":"message"}',
        '{"type":"message","id":"","text":"x"}',
        '{"type":"message","id":"an id with spaces","text":"x"}',
        '{"type":"message","id":"1","text":7}',
        '{"type":"message","id":"1","text":"  "}',
        json.dumps({"type": "message", "id": "1", "text": "x" * 32_001}),
        json.dumps({"type": "message", "id": "1", "text": "x" * (MIB + 10)}),
        '{"type":"message","id":"1","text":"x","attachments":[{"data":"not base64!"}]}',
        '{"type":"message","id":"1","text":"x","attachments":[{"data":"\\u00e9"}]}',
        '{"type":"message","id":"1","text":"\\ud800"}',
        "[" * 100_000,
    ],
)
def test_a_bad_frame_gets_an_error_and_the_conversation_goes_on(
    edge: EdgeStack, name: str, bad: str | bytes
) -> None:
    with chatting(edge, name) as chat:
        chat.socket.send(bad)
        assert chat.wait_for("error")["code"] in ("bad_input", "too_large")
        chat.wait_for("ack", id=chat.say(QUESTION))
        assert ANSWER in text_of(chat.wait_for("reply"))


def test_a_frame_that_no_message_needs_ends_the_connection(edge: EdgeStack, name: str) -> None:
    with chatting(edge, name) as chat:
        chat.socket.send("x" * (3 * MIB))
        assert chat.closed() == 1009


# --- messages ----------------------------------------------------------------------------------------


def test_a_message_is_acked_and_answered(edge: EdgeStack, name: str) -> None:
    with chatting(edge, name) as chat:
        ack = chat.wait_for("ack", id=chat.say(QUESTION))
        reply = chat.wait_for("reply")
        assert ANSWER in text_of(reply)
        assert reply["turn"] == ack["turn"]
        assert reply["seq"] >= 1


def test_the_same_id_twice_is_one_turn(edge: EdgeStack, name: str) -> None:
    with chatting(edge, name) as chat:
        message_id = chat.say(QUESTION)
        first = chat.wait_for("ack", id=message_id)
        chat.wait_for("reply")
        chat.say(QUESTION, message_id)
        assert chat.wait_for("ack", id=message_id)["turn"] == first["turn"]
        chat.wait_for("ack", id=chat.say("what is 5 * 5?"))
        assert "25" in text_of(chat.wait_for("reply"))
    assert len([frame for frame in chat.frames if frame["type"] == "reply"]) == 2


def test_a_reply_that_was_missed_comes_at_the_next_connection(edge: EdgeStack, name: str) -> None:
    """Connections that break after each message, resumed by `after`: nothing lost, nothing twice."""
    seqs: list[int] = []
    texts: list[str] = []
    for number in range(1, 6):
        with chatting(edge, name, after=seqs[-1] if seqs else 0) as chat:
            # What the connection before did not wait for.
            for _ in range(number - 1 - len(seqs)):
                reply = chat.wait_for("reply")
                seqs.append(reply["seq"])
                texts.append(text_of(reply))
            chat.wait_for("ack", id=chat.say(f"what is {number} * 100?"))
    with chatting(edge, name, after=seqs[-1]) as chat:
        reply = chat.wait_for("reply")
        seqs.append(reply["seq"])
        texts.append(text_of(reply))
    assert seqs == sorted(set(seqs))
    assert [f"{number}00" in text for number, text in enumerate(texts, start=1)] == [True] * 5
    with chatting(edge, name, after=seqs[1]) as again:
        assert [again.wait_for("reply")["seq"] for _ in range(3)] == seqs[2:]


def test_two_sockets_of_a_person_get_the_same_replies(edge: EdgeStack, name: str) -> None:
    with chatting(edge, name) as one, chatting(edge, name) as other:
        one.say(QUESTION)
        assert one.wait_for("reply") == other.wait_for("reply")
        other.say("what is 9 * 9?")
        assert one.wait_for("reply") == other.wait_for("reply")


def test_a_conversation_of_the_same_name_of_another_person_is_another(edge: EdgeStack, name: str) -> None:
    with chatting(edge, name) as mine:
        mine.wait_for("ack", id=mine.say(QUESTION))
        mine.wait_for("reply")
        with chatting(edge, name, key=edge.key("member")) as theirs:
            theirs.wait_for("ack", id=theirs.say("what is 8 * 8?"))
            reply = theirs.wait_for("reply")
            assert "64" in text_of(reply)
            assert reply["seq"] == 1
            assert [frame for frame in theirs.frames if frame["type"] == "reply"] == [reply]


# --- parts away --------------------------------------------------------------------------------------


def test_says_that_a_turn_waits_while_policy_hangs(edge: EdgeStack, name: str) -> None:
    with chatting(edge, name) as chat:
        edge.running.kill("opa", signal.SIGSTOP)
        try:
            ack = chat.wait_for("ack", id=chat.say(QUESTION))
            waiting = chat.wait_for("status", state="waiting")
            assert waiting["turn"] == ack["turn"]
        finally:
            edge.running.kill("opa", signal.SIGCONT)
        assert ANSWER in text_of(chat.wait(lambda frame: frame["type"] == "reply", timeout_s=40))


def test_acks_nothing_that_temporal_has_not_stored(edge: EdgeStack, name: str) -> None:
    with chatting(edge, name) as chat:
        edge.running.kill("temporal", signal.SIGSTOP)
        try:
            message_id = chat.say(QUESTION)
            error = chat.wait_for("error")
            assert error["code"] == "unavailable"
        finally:
            edge.running.kill("temporal", signal.SIGCONT)
        chat.say(QUESTION, message_id)
        chat.wait_for("ack", id=message_id)
        assert ANSWER in text_of(chat.wait(lambda frame: frame["type"] == "reply", timeout_s=40))
    assert [frame["type"] for frame in chat.frames].count("ack") == 1


def test_stop_stops_a_turn_that_waits(edge: EdgeStack, name: str) -> None:
    with chatting(edge, name) as chat:
        edge.running.kill("triton", signal.SIGSTOP)
        try:
            chat.wait_for("ack", id=chat.say("tell me something that needs a thought"))
            chat.send(type="stop")
            stopped = chat.wait(lambda frame: frame["type"] == "reply", timeout_s=40)
        finally:
            edge.running.kill("triton", signal.SIGCONT)
        assert "stop" in text_of(stopped).lower()
