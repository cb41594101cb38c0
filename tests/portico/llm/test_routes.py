from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from portico.contracts.steps import RouteRef
from portico.errors import Misconfigured, NotFound, PorticoError, TooLarge, Unavailable
from portico.llm.routes import Delta, ModelCall, ModelRoutes, OfferedTool
from portico.settings.settings import Settings
from tests.fakes.openai import FakeOpenAI, Said, call_pieces, drop, hang, status, too_many

ASK = [{"role": "user", "content": "hello you"}]
Make = Callable[..., ModelRoutes]


def settings_with(**routes: dict[str, Any]) -> Settings:
    return Settings.model_validate({"llm": {"routes": routes}})


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[ModelRoutes] = []

    def routes(model: FakeOpenAI, /, **more: Any) -> ModelRoutes:
        route = {"kind": "openai", "base_url": model.base_url, "model": "tiny", **more}
        made.append(ModelRoutes(settings_with(main=route), {"env:KEY": "sk-1"}.__getitem__))
        return made[-1]

    yield routes
    for each in made:
        await each.close()


@pytest.fixture
def model() -> Any:
    with FakeOpenAI() as server:
        yield server


async def ask(routes: ModelRoutes, **options: Any) -> list[Delta]:
    async with aclosing(routes.stream(routes.candidates()[0], ASK, **options)) as answer:
        return [delta async for delta in answer]


async def test_an_answer_comes_in_pieces_with_its_counts(model: FakeOpenAI, make: Make) -> None:
    model.say("Hello", " there", "!")
    deltas = await ask(make(model))
    assert [delta.text for delta in deltas] == ["Hello", " there", "!", ""]
    assert deltas[-1] == Delta("", input_tokens=1, output_tokens=3, finish="stop")
    assert model.asked[0]["messages"] == ASK
    assert model.asked[0]["model"] == "tiny"


async def test_pieces_arrive_while_the_model_still_speaks(model: FakeOpenAI, make: Make) -> None:
    model.say("one", "two", stop_after=1)
    routes = make(model)
    async with aclosing(routes.stream(routes.candidates()[0], ASK)) as answer:
        async with asyncio.timeout(5):
            assert (await anext(answer)).text == "one"


async def test_tool_calls_come_whole_with_the_end(model: FakeOpenAI, make: Make) -> None:
    model.call("add", {"a": 1, "b": [2, 3]}, ("now", "{}"), text="Let me see.")
    adding = OfferedTool("add", "Adds numbers.", {"type": "object", "properties": {"a": {"type": "integer"}}})
    deltas = await ask(make(model), tools=[adding], max_tokens=50, temperature=0.0, seed=7, stop=["END"])
    assert [delta.calls for delta in deltas[:-1]] == [()] * (len(deltas) - 1)
    assert deltas[-1].calls == (
        ModelCall("call_0", "add", '{"a": 1, "b": [2, 3]}'),
        ModelCall("call_1", "now", "{}"),
    )
    assert deltas[-1].finish == "tool_calls"
    assert "".join(delta.text for delta in deltas) == "Let me see."
    (asked,) = model.asked
    assert asked["tools"][0]["function"] == {
        "name": "add", "description": "Adds numbers.", "parameters": adding.parameters,
    }  # fmt: skip
    wanted = {"max_tokens": 50, "temperature": 0.0, "seed": 7, "stop": ["END"]}
    assert {name: asked[name] for name in wanted} == wanted


async def test_what_is_not_asked_for_is_not_sent(model: FakeOpenAI, make: Make) -> None:
    await ask(make(model))
    assert set(model.asked[0]) == {"model", "messages", "stream", "stream_options"}


async def test_further_fields_reach_the_server(model: FakeOpenAI, make: Make) -> None:
    await ask(make(model), extra={"top_p": 0.5, "tool_choice": "auto"})
    assert (model.asked[0]["top_p"], model.asked[0]["tool_choice"]) == (0.5, "auto")


@pytest.mark.parametrize("indexes", [(0, 0), (None, None)])
async def test_calls_of_servers_that_do_not_number_them(
    model: FakeOpenAI, make: Make, indexes: tuple[int | None, ...]
) -> None:
    whole = [
        {"index": index, "id": f"id-{number}", "function": {"name": "add", "arguments": f'{{"a": {number}}}'}}
        for number, index in enumerate(indexes)
    ]
    model.answer(Said((), finish="tool_calls", calls=tuple(whole)))
    calls = (await ask(make(model)))[-1].calls
    assert calls == (ModelCall("id-0", "add", '{"a": 0}'), ModelCall("id-1", "add", '{"a": 1}'))


async def test_a_call_without_an_id_gets_one_and_a_name_counts_once(model: FakeOpenAI, make: Make) -> None:
    pieces = [{"index": 0, "function": {"name": "add", "arguments": part}} for part in ('{"a"', ": 1}")]
    model.answer(Said((), finish="tool_calls", calls=tuple(pieces)))
    assert (await ask(make(model)))[-1].calls == (ModelCall("call_0", "add", '{"a": 1}'),)


async def test_a_model_that_never_stops_calling_is_stopped(model: FakeOpenAI, make: Make) -> None:
    long = call_pieces(0, "add", "x" * 300_000, pieces=30)
    many = tuple(piece for number in range(40) for piece in call_pieces(number, "add", "{}"))
    for calls in (long, many):
        model.answer(Said((), finish="tool_calls", calls=calls))
        with pytest.raises(TooLarge):
            await ask(make(model))


async def test_a_call_that_the_time_limit_cuts_is_none(model: FakeOpenAI, make: Make) -> None:
    head, *_ = call_pieces(0, "add", '{"a": 1}')
    model.answer(Said(("one", "two"), stop_after=1, calls=(head,)))
    last = (await ask(make(model, timeout_s=0.4)))[-1]
    assert (last.finish, last.calls) == ("time_limit", ())


async def test_closing_the_answer_hangs_up_on_the_model(model: FakeOpenAI, make: Make) -> None:
    model.say(*["word "] * 200, pause_s=0.05)
    routes = make(model)
    async with aclosing(routes.stream(routes.candidates()[0], ASK)) as answer:
        await anext(answer)
    await model.until(lambda: model.broken_off == 1 and model.open_streams == 0, timeout_s=5)


async def test_a_cancelled_reader_hangs_up_on_the_model(model: FakeOpenAI, make: Make) -> None:
    model.say(*["word "] * 200, pause_s=0.05)
    reader = asyncio.create_task(ask(make(model)))
    await model.until(lambda: model.open_streams == 1)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await model.until(lambda: model.broken_off == 1 and model.open_streams == 0, timeout_s=5)


async def test_one_connection_serves_many_answers(model: FakeOpenAI, make: Make) -> None:
    routes = make(model)
    for _ in range(3):
        assert "".join(delta.text for delta in await ask(routes)).strip() == "You said: hello you"


@pytest.mark.parametrize(
    ("step", "error", "words"),
    [
        (status(500), Unavailable, "500"),
        (status(503), Unavailable, "503"),
        (status(408), Unavailable, "408"),
        (drop(), Unavailable, "nothing answers"),
        (status(400), Misconfigured, "400"),
        (status(403), Misconfigured, "API key"),
        (status(418), Misconfigured, "418"),
        (status(307), Misconfigured, "307"),
    ],
)
async def test_failures_keep_apart_what_may_be_repeated(
    model: FakeOpenAI, make: Make, step: Any, error: type[PorticoError], words: str
) -> None:
    model.script("chat", step)
    with pytest.raises(error, match=words) as raised:
        await ask(make(model))
    assert "hello you" not in str(raised.value)
    assert raised.value.retryable is (error is Unavailable)


async def test_a_busy_model_tells_when_to_come_back(model: FakeOpenAI, make: Make) -> None:
    model.script("chat", too_many(7))
    with pytest.raises(Unavailable) as raised:
        await ask(make(model))
    assert raised.value.retry_after_s == 7


async def test_a_used_up_quota_is_not_waited_for(model: FakeOpenAI, make: Make) -> None:
    model.script("chat", status(429, body={"error": {"message": "no", "code": "insufficient_quota"}}))
    with pytest.raises(Misconfigured, match="quota"):
        await ask(make(model))


async def test_an_unknown_model_is_named(model: FakeOpenAI, make: Make) -> None:
    with pytest.raises(Misconfigured, match="'huge'"):
        await ask(make(model, model="huge"))


async def test_nothing_is_repeated_here(model: FakeOpenAI, make: Make) -> None:
    model.script("chat", status(500), times=5)
    with pytest.raises(Unavailable):
        await ask(make(model))
    assert len(model.asked) == 1


async def test_a_model_that_does_not_begin_is_away(model: FakeOpenAI, make: Make) -> None:
    model.script("chat", hang())
    with pytest.raises(Unavailable, match="first token"):
        await ask(make(model, first_token_timeout_s=0.2))


async def test_a_model_that_falls_silent_before_its_first_word_is_away(model: FakeOpenAI, make: Make) -> None:
    model.say("never", stop_after=0)
    with pytest.raises(Unavailable, match="first token"):
        await ask(make(model, first_token_timeout_s=0.2))


async def test_a_model_that_takes_too_long_is_cut_off_and_its_words_kept(
    model: FakeOpenAI, make: Make
) -> None:
    model.say("some", " words", " more", stop_after=2)
    deltas = await ask(make(model, timeout_s=0.4))
    assert "".join(delta.text for delta in deltas) == "some words"
    assert deltas[-1].finish == "time_limit"
    await model.until(lambda: model.open_streams == 0, timeout_s=5)


async def test_a_broken_stream_is_away_not_an_answer(model: FakeOpenAI, make: Make) -> None:
    model.say("half", " an", " answer", break_after=2)
    with pytest.raises(Unavailable):
        await ask(make(model))


async def test_nobody_at_that_port_is_away(make: Make) -> None:
    with FakeOpenAI() as gone:
        pass
    with pytest.raises(Unavailable, match="nothing answers"):
        await ask(make(gone))


async def test_characters_that_a_server_cuts_in_two_are_joined(model: FakeOpenAI, make: Make) -> None:
    model.say("so \ud83d", "\ude00!", " \udc00 and \ud83d")
    deltas = await ask(make(model))
    assert (
        "".join(delta.text for delta in deltas)
        == "so 😀! \N{REPLACEMENT CHARACTER} and \N{REPLACEMENT CHARACTER}"
    )
    model.call("add\ud800", '{"a": "\ud83d\ude00"}')
    (call,) = (await ask(make(model)))[-1].calls
    assert (call.name, call.arguments) == ("add\N{REPLACEMENT CHARACTER}", '{"a": "😀"}')


async def test_thinking_is_not_shown(model: FakeOpenAI, make: Make) -> None:
    model.say("<thi", "nk>let me", " see</th", "ink>\n\n", "Four", ".")
    assert "".join(delta.text for delta in await ask(make(model))) == "Four."


async def test_a_key_is_sent_and_nothing_of_the_environment(
    model: FakeOpenAI, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-secret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: secret-team")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    model.api_key = "sk-1"
    await ask(make(model, api_key="env:KEY"))
    assert model.headers[0]["authorization"] == "Bearer sk-1"
    assert set(model.headers[0]) <= {
        "host", "accept", "accept-encoding", "authorization", "connection",
        "content-length", "content-type", "user-agent",
    }  # fmt: skip
    assert "secret" not in str(model.headers)


async def test_without_a_key_none_is_sent(model: FakeOpenAI, make: Make) -> None:
    await ask(make(model))
    assert "authorization" not in model.headers[0]


async def test_a_wrong_key_is_told(model: FakeOpenAI, make: Make) -> None:
    model.api_key = "sk-other"
    with pytest.raises(Misconfigured, match="API key"):
        await ask(make(model, api_key="env:KEY"))


def test_routes_keep_the_order_of_the_file() -> None:
    routes = ModelRoutes(
        settings_with(
            b={"kind": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "x"},
            a={"kind": "openai", "base_url": "https://api.example.com/v1", "model": "y", "locality": "cloud"},
        ),
        str,
    )
    assert routes.candidates() == (
        RouteRef(name="b", model="x", locality="local"),
        RouteRef(name="a", model="y", locality="cloud"),
    )


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ({"kind": "triton", "model": "m", "locality": "cloud"}, "locality"),
        ({"kind": "openai", "model": "m"}, "base_url"),
        ({"kind": "openai", "model": "m", "base_url": "127.0.0.1:80"}, "base_url"),
        ({"kind": "openai", "model": "m", "base_url": "https://api.example.com/v1"}, "locality"),
        ({"kind": "openai", "model": "m", "base_url": "http://8.8.8.8/v1"}, "locality"),
        (
            {"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1", "api_key": "env:NOT_SET"},
            "api_key",
        ),
    ],
)
def test_what_cannot_work_is_said_at_the_start(route: dict[str, Any], words: str) -> None:
    def secret(reference: str) -> str:
        raise Misconfigured(f"{reference} is not set")

    with pytest.raises(Misconfigured, match=rf"llm\.routes\.main\.{words}"):
        ModelRoutes(settings_with(main=route), secret)


async def test_changed_settings_count_from_the_next_question_on(model: FakeOpenAI) -> None:
    route = {"kind": "openai", "base_url": model.base_url, "model": "tiny"}
    waiting = [settings_with(main=route), settings_with(bad={"kind": "openai", "model": "x"})]
    routes = ModelRoutes(Settings(), str, newer=lambda: waiting.pop(0) if waiting else None)
    try:
        assert [each.name for each in routes.candidates()] == ["main"]
        assert [each.name for each in routes.candidates()] == ["main"], (
            "a mistake in the file leaves what works"
        )
        assert await ask(routes)
    finally:
        await routes.close()


async def test_a_route_that_is_gone_is_not_found() -> None:
    routes = ModelRoutes(Settings(), str)
    with pytest.raises(NotFound):
        async with aclosing(routes.stream(RouteRef(name="old", model="m"), ASK)) as answer:
            await anext(answer)


def test_the_client_library_is_not_loaded_before_it_is_needed() -> None:
    look = "import sys, portico.llm.routes; sys.exit('openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0


async def test_answers_that_begin_together_share_one_client(model: FakeOpenAI, make: Make) -> None:
    routes = make(model)
    answers = await asyncio.gather(*(ask(routes) for _ in range(5)))
    assert {"".join(delta.text for delta in answer).strip() for answer in answers} == {"You said: hello you"}
