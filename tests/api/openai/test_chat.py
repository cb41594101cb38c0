"""The OpenAI-compatible door, by the official client against a whole stack, with scripted model servers behind.

`main` and `backup` are on this machine, `narrow` has one place and no line, `far` is a cloud that nobody may use.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import math
import os
import re
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionToolParam

from portico.storage.engine.database import Database
from tests.api.conftest import EdgeStack
from tests.fakes.hook import FakeReceiver
from tests.fakes.openai import FakeOpenAI, Said, hang, status, too_many
from tests.fakes.telegram import FakeTelegram
from tests.support import RunningStack

ASK: list[Any] = [{"role": "user", "content": "Say it"}]
ADD: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}},
}
SETTINGS = """
[models]
detect = false
[llm.routes.far]
kind = "openai"
base_url = "{far}"
model = "tiny"
locality = "cloud"
[llm.routes.main]
kind = "openai"
base_url = "{main}"
model = "tiny"
concurrency = 2
first_token_timeout_s = 2
input_cost_per_mtok = 1000000
[llm.routes.backup]
kind = "openai"
base_url = "{backup}"
model = "tiny"
[llm.routes.narrow]
kind = "openai"
base_url = "{main}"
model = "tiny"
concurrency = 1
queue = 0
first_token_timeout_s = 30
"""


@dataclass
class Door:
    """The stack, and the model servers behind it."""

    edge: EdgeStack
    main: FakeOpenAI
    backup: FakeOpenAI
    far: FakeOpenAI

    def client(self, key: str = "") -> openai.OpenAI:
        made = openai.OpenAI(
            base_url=f"{self.edge.url}/v1", api_key=key or self.edge.owner_key, max_retries=0, timeout=30
        )
        return made

    def answers(self) -> list[tuple[Any, ...]]:
        async def rows(database: Database) -> list[tuple[Any, ...]]:
            return await database.read(
                lambda connection: [
                    tuple(row)
                    for row in connection.execute(
                        "SELECT route, finish, input_tokens, output_tokens, estimated, model_answers.decision_id, "
                        "effect FROM model_answers JOIN decisions USING (decision_id) ORDER BY model_answers.at"
                    )
                ]
            )

        return self.edge.database(rows)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with ExitStack() as outside:
        main, backup, far = (outside.enter_context(FakeOpenAI()) for _ in range(3))
        telegram, receiver = outside.enter_context(FakeTelegram()), outside.enter_context(FakeReceiver())
        settings = SETTINGS.format(main=main.base_url, backup=backup.base_url, far=far.base_url)
        with RunningStack(tmp_path_factory.mktemp("door"), settings=settings) as running:
            yield Door(EdgeStack(running, telegram, receiver), main, backup, far)


@pytest.fixture
def client(door: Door) -> Iterator[openai.OpenAI]:
    with door.client() as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_leaves(door: Door) -> Iterator[None]:
    yield
    assert door.far.asked == [], "local mode, and a cloud route was called"


def until(condition: Callable[[], bool], *, timeout_s: float = 10) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(0.02)


# --- refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["pk_nobody", "sk-something", "pk_"])
def test_a_wrong_key_is_refused_in_the_clients_own_words(door: Door, key: str) -> None:
    with door.client(key) as stranger:
        for call in (
            lambda: stranger.chat.completions.create(model="main", messages=ASK),
            lambda: stranger.embeddings.create(model="text_encoder", input="x"),
            lambda: stranger.models.list(),
        ):
            with pytest.raises(openai.AuthenticationError) as raised:
                call()
            assert raised.value.code == "invalid_api_key"


def test_a_role_that_causes_nothing_to_be_sent_is_refused_with_reasons(door: Door) -> None:
    with door.client(door.edge.key("auditor")) as auditor:
        for call in (
            lambda: auditor.chat.completions.create(model="main", messages=ASK),
            lambda: auditor.chat.completions.create(model="auto", messages=ASK, stream=True),
            lambda: auditor.embeddings.create(model="text_encoder", input="x"),
        ):
            with pytest.raises(openai.PermissionDeniedError, match="no rule allowed it") as raised:
                call()
            assert raised.value.code == "denied_by_policy"


def test_a_cloud_route_is_denied_with_the_reasons_of_policy(client: openai.OpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError, match="local mode: nothing leaves this machine"):
        client.chat.completions.create(model="far", messages=ASK)


def test_an_unknown_model_is_answered_with_near_names(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match=r"bakup.*backup") as raised:
        client.chat.completions.create(model="bakup", messages=ASK)
    assert raised.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError, match="text_encoder"):
        client.embeddings.create(model="text-embedding-3-small", input="x")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"[" * 50_000, b"{}",
        b'{"model": "main"}',
        b'{"model": "main", "messages": []}',
        b'{"model": "main", "messages": "hello"}',
        b'{"model": "", "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "main", "messages": [{"role": "king", "content": "x"}]}',
        b'{"model": "main", "messages": [{"role": "user", "content": 5}]}',
        b'{"model": "main", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "main", "messages": [{"role": "tool", "content": "x"}]}',
        b'{"model": "main", "messages": [{"role": "user", "content": [{"type": "text"}]}]}',
        b'{"model": "main", "messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}',
        b'{"model": "main", "messages": [{"role": "user", "content": '
        b'[{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}]}',
        b'{"model": "main", "messages": [{"role": "user", "content": "x"}], "n": 2}',
        b'{"model": "main", "messages": [{"role": "user", "content": "x"}], "temperature": 9}',
        b'{"model": "main", "messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
        b'{"model": "main", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0}',
        b'{"model": "main", "messages": [{"role": "user", "content": "x"}], "stop": ["", "a"]}',
        b'{"model": "main", "messages": [{"role": "user", "content": "x"}], "logprobs": true}',
        b'{"model": "main", "messages": [{"role": "user", "content": "x"}], "tools": [{"type": "web"}]}',
    ],
)  # fmt: skip
def test_garbage_is_a_clear_400_and_reaches_no_model(door: Door, body: bytes) -> None:
    before = len(door.main.asked)
    with door.edge.person() as owner:
        answer = owner.post(
            "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
        )
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["message"]
    assert error["type"] == "invalid_request_error"
    assert len(door.main.asked) == before


def test_a_huge_body_is_refused_before_it_is_read(door: Door) -> None:
    with socket.create_connection((door.edge.running.address("api").split(":")[0], _port(door))) as raw:
        raw.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer " + door.edge.owner_key.encode() + b"\r\n"
            b"Content-Length: 900000000\r\n\r\n{"
        )
        raw.settimeout(5)
        assert b" 413 " in raw.recv(4096).split(b"\r\n")[0]


@pytest.mark.parametrize(
    "given",
    [
        "",
        [],
        [""],
        [1, 2, 3],
        [[1, 2], [3]],
        5,
        None,
        {"a": 1},
        ["x"] * 2049,
        "x" * 100_001,
        [True],
        "\ud800",
    ],
)
def test_what_is_no_text_is_not_embedded(door: Door, given: Any) -> None:
    with door.edge.person() as owner:
        answer = owner.post(
            "/v1/embeddings",
            content=json.dumps({"model": "text_encoder", "input": given}),
            headers={"content-type": "application/json"},
        )
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


# --- answers -----------------------------------------------------------------------------------------


def test_an_answer_comes_whole_and_is_counted(door: Door, client: openai.OpenAI) -> None:
    door.main.say("Hello", " there")
    answer = client.chat.completions.create(
        model="main",
        messages=[{"role": "developer", "content": "Be kind"}, *ASK],
        max_completion_tokens=9,
        temperature=0.5,
        stop=["END"],
        seed=3,
        top_p=0.9,
    )
    assert (answer.model, answer.object) == ("main", "chat.completion")
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("Hello there", "stop")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (
        1,
        2,
        3,
    )
    sent = door.main.asked[-1]
    assert sent["messages"][0] == {"role": "system", "content": "Be kind"}
    assert {name: sent[name] for name in ("max_tokens", "temperature", "stop", "seed", "top_p")} == {
        "max_tokens": 9, "temperature": 0.5, "stop": ["END"], "seed": 3, "top_p": 0.9,
    }  # fmt: skip
    route, finish, read, written, estimated, decision_id, effect = door.answers()[-1]
    assert (route, finish, read, written, estimated, effect) == ("main", "stop", 1, 2, 0, "allow")
    assert answer.id == f"chatcmpl-{decision_id}"


def test_an_answer_is_streamed_while_it_is_written(door: Door, client: openai.OpenAI) -> None:
    door.main.say("one", " two", " three", pause_s=0.5)
    begun, times, text = time.monotonic(), [], ""
    with client.chat.completions.create(
        model="main", messages=ASK, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = []
        for chunk in stream:
            chunks.append(chunk)
            times.append(time.monotonic() - begun)
            text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    assert text == "one two three"
    assert times[-1] - times[1] > 0.2, "it came all at once"
    assert {chunk.model for chunk in chunks} == {"main"}
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3


async def test_the_asynchronous_client_streams_many_at_once(door: Door) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{door.edge.url}/v1", api_key=door.edge.owner_key, max_retries=0
    ) as client:

        async def ask(number: int) -> str:
            stream = await client.chat.completions.create(
                model="main", messages=[{"role": "user", "content": f"number {number}"}], stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

        answers = await asyncio.gather(*(ask(number) for number in range(12)))
    assert answers == [f"You said: number {number} " for number in range(12)]


def test_tools_are_passed_through_both_ways(door: Door, client: openai.OpenAI) -> None:
    door.main.call("add", {"a": 1})
    answer = client.chat.completions.create(model="main", messages=ASK, tools=[ADD])
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls is not None
    call = message.tool_calls[0]
    assert call.type == "function"
    assert (call.id, call.function.name, call.function.arguments) == ("call_0", "add", '{"a": 1}')
    back: list[Any] = [*ASK, message, {"role": "tool", "tool_call_id": call.id, "content": "2"}]
    client.chat.completions.create(model="main", messages=back, tools=[ADD], tool_choice="required")
    sent = door.main.asked[-1]
    assert sent["messages"][1]["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 1}'}
    assert sent["messages"][2] == {"role": "tool", "tool_call_id": "call_0", "content": "2"}
    assert (sent["tools"], sent["tool_choice"]) == ([ADD], "required")

    door.main.call("add", "{broken", text="Let me see")
    with client.chat.completions.create(model="main", messages=ASK, tools=[ADD], stream=True) as stream:
        chunks = [chunk.choices[0] for chunk in stream if chunk.choices]
    assert chunks[-1].finish_reason == "tool_calls"
    streamed = [call for choice in chunks for call in choice.delta.tool_calls or ()]
    assert [(call.index, call.function and call.function.arguments) for call in streamed] == [(0, "{broken")]


def test_an_image_goes_along_and_text_parts_become_one_text(door: Door, client: openai.OpenAI) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    texts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages: list[Any] = [{"role": "user", "content": texts}, {"role": "user", "content": [texts[0], image]}]
    client.chat.completions.create(model="main", messages=messages)
    assert [one["content"] for one in door.main.asked[-1]["messages"]] == ["a\nb", [texts[0], image]]


def test_a_message_of_100_000_characters_passes(door: Door, client: openai.OpenAI) -> None:
    long = "多语言 😀 text " * 8000
    door.main.say("Read.")
    client.chat.completions.create(model="main", messages=[{"role": "user", "content": long}])
    assert door.main.asked[-1]["messages"][0]["content"] == long


def test_tokens_are_reckoned_where_the_server_does_not_count(door: Door, client: openai.OpenAI) -> None:
    door.main.answer(Said(("x" * 400,), usage=False))
    usage = client.chat.completions.create(model="main", messages=ASK).usage
    assert usage is not None
    assert usage.completion_tokens == 100
    assert (usage.model_extra or {})["estimated"] is True
    assert door.answers()[-1][4] == 1


def test_auto_is_answered_by_the_first_route_that_policy_allows(door: Door, client: openai.OpenAI) -> None:
    door.main.say("Me.")
    answer = client.chat.completions.with_raw_response.create(model="auto", messages=ASK)
    assert answer.parse().model == "main"
    assert answer.headers["x-portico-route"] == "main"


# --- what goes wrong behind it -----------------------------------------------------------------------


def test_auto_goes_on_to_the_next_route_and_remembers(door: Door, client: openai.OpenAI) -> None:
    door.main.script("chat", status(500))
    door.backup.say("Here.")
    door.backup.say("Again.")
    first = client.chat.completions.create(model="auto", messages=ASK)
    assert (first.model, first.choices[0].message.content) == ("backup", "Here.")
    asked = len(door.main.asked)
    with client.chat.completions.create(model="auto", messages=ASK, stream=True) as stream:
        assert {chunk.model for chunk in stream} == {"backup"}
    assert len(door.main.asked) == asked, "a route that failed a moment ago was asked first"
    # By name it is asked all the same; when it answers, it is the first again.
    assert client.chat.completions.create(model="main", messages=ASK).model == "main"
    assert client.chat.completions.create(model="auto", messages=ASK).model == "main"


@pytest.mark.parametrize(
    ("step", "error", "words"),
    [
        (status(500), openai.InternalServerError, "500"),
        (status(401), openai.InternalServerError, "API key"),
        (status(400), openai.BadRequestError, "longer than the model's context"),
        (hang(), openai.InternalServerError, "first token"),
    ],
)
def test_a_named_route_that_fails_is_told(
    door: Door, client: openai.OpenAI, step: Any, error: type[openai.APIStatusError], words: str
) -> None:
    door.main.script("chat", step)
    with pytest.raises(error, match=words):
        client.chat.completions.create(model="main", messages=ASK)


def test_a_busy_server_behind_is_passed_on_with_its_waiting_time(door: Door, client: openai.OpenAI) -> None:
    door.main.script("chat", too_many(7))
    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(model="main", messages=ASK)
    assert (raised.value.status_code, raised.value.response.headers["retry-after"]) == (503, "7")


def test_a_model_that_dies_in_the_middle_of_a_stream_is_an_error_not_an_end(
    door: Door, client: openai.OpenAI
) -> None:
    door.main.say("half", " an", " answer", break_after=2)
    text = ""
    with (
        client.chat.completions.create(model="main", messages=ASK, stream=True) as stream,
        pytest.raises(openai.APIError, match="main"),
    ):
        for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    assert text == "half an"
    route, finish, *_ = door.answers()[-1]
    assert (route, finish) == ("main", "broken_off")
    door.main.say("half", " an", " answer", break_after=2)
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="main", messages=ASK)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_stops_the_model_at_once(door: Door, stream: bool) -> None:
    before = door.main.broken_off
    door.main.say(*["word "] * 400, pause_s=0.05)
    connection = _ask_raw(door, {"model": "main", "messages": ASK, "stream": stream})
    until(lambda: door.main.open_streams == 1)
    if stream:
        assert connection.getresponse().read(10)
    connection.close()
    until(lambda: door.main.broken_off == before + 1 and door.main.open_streams == 0, timeout_s=3)


def test_a_client_that_gives_up_before_the_first_word_stops_the_model(door: Door) -> None:
    before = door.main.broken_off
    door.main.say("never", stop_after=0)
    connection = _ask_raw(door, {"model": "narrow", "messages": ASK, "stream": True})
    until(lambda: door.main.open_streams == 1)
    connection.close()
    until(lambda: door.main.broken_off == before + 1, timeout_s=3)


def test_a_slow_reader_gets_all_of_it(door: Door) -> None:
    door.main.say(*["0123456789" * 1000] * 60)
    connection = _ask_raw(door, {"model": "main", "messages": ASK, "stream": True})
    answer = connection.getresponse()
    text, left = "", b""
    while piece := answer.read(65_536):
        time.sleep(0.01)
        left += piece
    for line in left.split(b"\n\n"):
        if line.startswith(b"data: {"):
            text += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
    connection.close()
    assert text == "0123456789" * 60_000
    assert left.endswith(b"data: [DONE]\n\n")


def test_a_full_line_is_answered_with_when_to_come_again(door: Door, client: openai.OpenAI) -> None:
    door.main.say("slow", " answer", stop_after=1)
    holder = _ask_raw(door, {"model": "narrow", "messages": ASK, "stream": True})
    assert holder.getresponse().status == 200
    with pytest.raises(openai.RateLimitError, match="narrow") as raised:
        client.chat.completions.create(model="narrow", messages=ASK)
    assert int(raised.value.response.headers["retry-after"]) >= 1
    assert raised.value.code == "rate_limit_exceeded"
    holder.close()
    until(lambda: door.main.open_streams == 0)
    door.main.say("Free.")
    again = client.with_options(max_retries=5).chat.completions.create(model="narrow", messages=ASK)
    assert again.choices[0].message.content == "Free."


def test_more_than_there_are_places_wait_in_line(door: Door, client: openai.OpenAI) -> None:
    for number in range(8):
        door.main.say(str(number), pause_s=0.1)
    most = 0

    def ask(_: int) -> str:
        nonlocal most
        answer = client.chat.completions.create(model="main", messages=ASK)
        return answer.choices[0].message.content or ""

    with ThreadPoolExecutor(8) as together:
        waiting = [together.submit(ask, number) for number in range(8)]
        while not all(one.done() for one in waiting):
            most = max(most, door.main.open_streams)
            time.sleep(0.005)
    assert sorted(one.result() for one in waiting) == [str(number) for number in range(8)]
    assert most == 2


# --- embeddings and models ---------------------------------------------------------------------------


def test_texts_become_vectors_in_either_writing(door: Door, client: openai.OpenAI) -> None:
    texts = ["the cat sat on the mat", "a cat on a mat", "quarterly tax report"]
    answer = client.embeddings.create(model="text_encoder", input=texts)  # base64 on the wire
    assert [one.index for one in answer.data] == [0, 1, 2]
    vectors = [one.embedding for one in answer.data]
    assert [len(vector) for vector in vectors] == [384] * 3
    assert all(math.isclose(math.hypot(*vector), 1, abs_tol=1e-3) for vector in vectors)
    assert _cosine(vectors[0], vectors[1]) > _cosine(vectors[0], vectors[2]) + 0.3
    assert answer.usage.prompt_tokens > 0
    single = client.embeddings.create(model="text_encoder", input=texts[0], encoding_format="float")
    assert _cosine(single.data[0].embedding, vectors[0]) > 0.999
    with door.edge.person() as owner:
        raw = owner.post(
            "/v1/embeddings", json={"model": "auto", "input": texts[0], "encoding_format": "base64"}
        ).json()
    unpacked = struct.unpack("<384f", base64.b64decode(raw["data"][0]["embedding"]))
    assert _cosine(unpacked, vectors[0]) > 0.999
    assert door.answers()[-1][0] == "text_encoder"


def test_more_texts_than_a_batch_keep_their_order(client: openai.OpenAI) -> None:
    texts = [f"text number {number}" for number in range(130)]
    together = client.embeddings.create(model="text_encoder", input=texts).data
    alone = client.embeddings.create(model="text_encoder", input=texts[129]).data[0].embedding
    assert len(together) == 130
    assert _cosine(together[129].embedding, alone) > 0.999


def test_other_dimensions_are_refused(client: openai.OpenAI) -> None:
    assert client.embeddings.create(model="text_encoder", input="x", dimensions=384)
    with pytest.raises(openai.BadRequestError, match="384"):
        client.embeddings.create(model="text_encoder", input="x", dimensions=100)


def test_models_are_listed_as_the_client_reads_them(door: Door, client: openai.OpenAI) -> None:
    client.chat.completions.create(model="main", messages=ASK)
    listed = {model.id: model for model in client.models.list()}
    assert list(listed) == ["auto", "far", "main", "backup", "narrow", "text_encoder"]
    assert (listed["main"].model_extra or {})["state"] == "ok"
    assert (listed["far"].model_extra or {})["locality"] == "cloud"
    assert client.models.retrieve("main").id == "main"
    with door.edge.person() as owner:  # what our own pages and commands read is still there
        assert [one["name"] for one in owner.get("/v1/models/routes").json()["routes"]] == [
            "far", "main", "backup", "narrow",
        ]  # fmt: skip


def test_every_answer_has_a_decision_from_before(door: Door, client: openai.OpenAI) -> None:
    async def without(database: Database) -> tuple[int, int]:
        return await database.read(
            lambda connection: tuple(
                connection.execute(
                    "SELECT count(*), sum(decisions.effect IS NOT 'allow' OR decisions.at > model_answers.at) "
                    "FROM model_answers LEFT JOIN decisions USING (decision_id)"
                ).fetchone()
            )
        )

    client.chat.completions.create(model="main", messages=ASK)
    answers, undecided = door.edge.database(without)
    assert answers > 0
    assert undecided == 0


def _cosine(one: Any, other: Any) -> float:
    return float(sum(a * b for a, b in zip(one, other, strict=True)))


def _port(door: Door) -> int:
    return int(door.edge.running.address("api").rpartition(":")[2])


def _ask_raw(door: Door, body: dict[str, Any]) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", _port(door), timeout=20)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {door.edge.owner_key}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    return connection


def test_the_example_of_the_documentation_works(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[3] / "docs" / "models.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    example = example.replace("http://127.0.0.1:8080", door.edge.url).replace(
        "pk_…", door.edge.key("service")
    )
    assert door.edge.url in example
    door.main.say("It works.")
    exec(example, {})
    assert capsys.readouterr().out == "It works.\n"


def test_a_killed_edge_lets_go_of_the_model_and_of_its_place(door: Door, client: openai.OpenAI) -> None:
    before = door.main.broken_off
    door.main.say("one", " two", stop_after=1)
    connection = _ask_raw(door, {"model": "narrow", "messages": ASK, "stream": True})
    assert connection.getresponse().status == 200
    door.edge.running.kill("api")
    connection.close()
    until(lambda: door.main.broken_off == before + 1 and door.main.open_streams == 0)
    door.edge.running.wait_ready("api")
    door.main.say("Free again.")
    answer = client.with_options(max_retries=5).chat.completions.create(model="narrow", messages=ASK)
    assert answer.choices[0].message.content == "Free again."


def test_what_happens_at_the_door_is_counted(door: Door, client: openai.OpenAI) -> None:
    client.chat.completions.create(model="main", messages=ASK)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="bakup", messages=ASK)
    with door.edge.person() as owner:
        metrics = owner.get("/metrics").text
    for status_code in (200, 404):
        line = f'portico_openai_requests_total{{path="/v1/chat/completions",status="{status_code}"}}'
        assert line in metrics
    assert 'portico_model_door_waiting{route="main"} 0.0' in metrics


def test_many_programs_at_once_all_get_their_own_answer(door: Door) -> None:
    async def ask(client: openai.AsyncOpenAI, number: int) -> bool:
        text = f"number {number}"
        messages: list[Any] = [{"role": "user", "content": text}]
        if number % 2:
            stream = await client.chat.completions.create(model="backup", messages=messages, stream=True)
            said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
        else:
            answer = await client.chat.completions.create(model="backup", messages=messages)
            said = answer.choices[0].message.content or ""
        return said == f"You said: {text} "

    async def all_of_them() -> list[bool]:
        async with openai.AsyncOpenAI(
            base_url=f"{door.edge.url}/v1", api_key=door.edge.owner_key, max_retries=8
        ) as client:
            return await asyncio.gather(*(ask(client, number) for number in range(34)))

    assert all(asyncio.run(all_of_them()))


def test_without_policy_nothing_is_asked(door: Door, client: openai.OpenAI) -> None:
    asked = len(door.main.asked)
    opa = door.edge.running.pid("opa")
    os.kill(opa, signal.SIGSTOP)
    try:
        for model in ("main", "auto"):
            with pytest.raises(openai.InternalServerError, match="OPA") as raised:
                client.chat.completions.create(model=model, messages=ASK)
            assert raised.value.status_code == 503
            assert raised.value.response.headers["retry-after"]
    finally:
        os.kill(opa, signal.SIGCONT)
    assert len(door.main.asked) == asked
    again = client.with_options(max_retries=5).chat.completions.create(model="main", messages=ASK)
    assert again.model == "main"


def test_a_killed_encoder_is_away_and_comes_back(door: Door, client: openai.OpenAI) -> None:
    assert client.embeddings.create(model="text_encoder", input="before")
    door.edge.running.kill("triton")
    with pytest.raises(openai.InternalServerError) as raised:
        client.embeddings.create(model="text_encoder", input="meanwhile")
    assert raised.value.status_code == 503
    door.edge.running.wait_ready("triton")
    again = client.with_options(max_retries=8).embeddings.create(model="text_encoder", input="after")
    assert len(again.data[0].embedding) == 384
