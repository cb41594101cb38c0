"""What goes wrong behind the OpenAI-compatible interface, and what its clients see."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from tests.api.openai.edge import Door, _ask_raw, until
from tests.api.openai.test_chat import ASK
from tests.fakes.openai import hang, status, too_many

pytestmark = pytest.mark.usefixtures("nothing_leaves")


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
