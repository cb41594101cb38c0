"""The OpenAI-compatible door, by the official client against a whole stack, with scripted model servers behind.

`main` and `backup` are on this machine, `narrow` has one place and no line, `far` is a cloud that nobody may use.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionToolParam

from portico.storage.engine.database import Database
from tests.api.openai.edge import Door, _port
from tests.fakes.openai import Said

pytestmark = pytest.mark.usefixtures("nothing_leaves")

ASK: list[Any] = [{"role": "user", "content": "Say it"}]


ADD: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}},
}


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
