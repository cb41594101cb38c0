"""None"""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import WorkflowFailureError
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ActivityError
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import Worker

from activities.boundary import BoundaryInterceptor
from activities.generate import PIECES_PER_S, GenerateSteps, in_full
from portico.contracts.messages import ConversationRef
from portico.contracts.steps import DialogueLine, Generated, GenerateInput, RouteRef
from portico.contracts.tool_steps import ToolOffer, ToolRequest, ToolReturn, ToolRound
from portico.crypto.keyring import open_keyring
from portico.errors import Misconfigured, Unavailable
from portico.llm.routes import ModelRoutes
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.storage.live.hub import LiveHub, LivePublisher
from portico.tool import ToolSpec
from tests.fakes.openai import FakeOpenAI, status, too_many

Updates = list[dict[str, Any]]


@pytest.fixture
def model() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
async def updates(tmp_path: Path) -> AsyncIterator[tuple[LivePublisher, Callable[[], Updates]]]:
    """A real publisher and hub, and what a reader of the conversation has got."""
    home = Home(tmp_path)
    home.make()
    keyring = open_keyring(home, bytes(range(32)))
    hub, publisher, got = LiveHub(home, keyring), LivePublisher(home, keyring), Updates()
    await hub.start()
    ready = asyncio.Event()

    async def read() -> None:
        with hub.subscribe("c1") as stream:
            ready.set()
            async for update in stream:
                got.append(update)

    reader = asyncio.create_task(read())
    await ready.wait()
    yield publisher, lambda: [update for update in got if update["kind"] == "delta"]
    reader.cancel()
    await publisher.close()
    await hub.stop()


@pytest.fixture
async def steps(
    model: FakeOpenAI, updates: tuple[LivePublisher, Callable[[], Updates]]
) -> AsyncIterator[GenerateSteps]:
    route = {"kind": "openai", "base_url": model.base_url, "model": "tiny", "first_token_timeout_s": 30}
    routes = ModelRoutes(Settings.model_validate({"llm": {"routes": {"main": route}}}), str)
    yield GenerateSteps(routes, updates[0], tool_spec={"add": ADD}.get)
    await routes.close()


ADD = ToolSpec(
    name="add",
    description="Add two numbers.",
    parameters={
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
    effects="none",
    risk="low",
    content_hash="h1",
)


OFFERED = ToolOffer(name="add", content_hash="h1")


def step(*, channel: str = "web", text: str = "hello", **more: Any) -> GenerateInput:
    return GenerateInput(
        conversation=ConversationRef(id="c1", channel=channel, account="default", chat="x"),
        turn_id="t1",
        route=RouteRef(name="main", model="tiny"),
        decision_id="d1",
        dialogue=more.pop("dialogue", ()),
        text=text,
        **more,
    )


async def until(true: Callable[[], Any], *, timeout_s: float = 5) -> None:
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110 - the other side tells nobody
            await asyncio.sleep(0.01)


async def test_the_whole_answer_is_returned_with_its_route_and_counts(
    steps: GenerateSteps, model: FakeOpenAI
) -> None:
    model.say("Good", " day", ".")
    answer = await ActivityEnvironment().run(steps.generate, step())
    assert answer == Generated(text="Good day.", route="main", input_tokens=1, output_tokens=3)


async def test_a_web_chat_sees_every_piece_in_order(
    steps: GenerateSteps, model: FakeOpenAI, updates: Any
) -> None:
    model.say(*[f"{number} " for number in range(120)], pause_s=0.005)
    answer = await ActivityEnvironment().run(steps.generate, step())
    await until(lambda: "".join(update["text"] for update in updates[1]()).strip() == answer.text)
    text = ""
    for update in updates[1]():
        assert update["turn"] == "t1"
        assert update["offset"] == len(text)
        text += update["text"]
    assert len(updates[1]()) <= 120 * 0.02 * PIECES_PER_S, "pieces are gathered"


async def test_the_first_piece_is_shown_at_once(
    steps: GenerateSteps, model: FakeOpenAI, updates: Any
) -> None:
    model.say("first", " never", stop_after=1)
    running = asyncio.create_task(ActivityEnvironment().run(steps.generate, step()))
    await until(lambda: [update["text"] for update in updates[1]()] == ["first"])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_piece_is_not_held_back_until_the_next_one(
    steps: GenerateSteps, model: FakeOpenAI, updates: Any
) -> None:
    model.say("one", " two", " three", stop_after=2)
    running = asyncio.create_task(ActivityEnvironment().run(steps.generate, step()))
    await until(lambda: "".join(update["text"] for update in updates[1]()) == "one two")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_other_channels_get_no_live_updates(
    steps: GenerateSteps, model: FakeOpenAI, updates: Any
) -> None:
    await ActivityEnvironment().run(steps.generate, step(channel="telegram"))
    updates[0].publish("c1", {"kind": "delta", "turn": "last", "offset": 0, "text": ""})
    await until(lambda: updates[1]())
    assert [update["turn"] for update in updates[1]()] == ["last"]


async def test_a_repeated_attempt_begins_the_text_anew(
    steps: GenerateSteps, model: FakeOpenAI, updates: Any
) -> None:
    model.say("half", " an", break_after=1)
    with pytest.raises(Unavailable):
        await ActivityEnvironment().run(steps.generate, step())
    model.say("whole")
    await ActivityEnvironment().run(steps.generate, step())
    await until(lambda: len(updates[1]()) == 2)
    assert [(update["offset"], update["text"]) for update in updates[1]()] == [(0, "half"), (0, "whole")]


async def test_it_beats_while_the_model_has_not_begun(steps: GenerateSteps, model: FakeOpenAI) -> None:
    model.say("never", stop_after=0)
    environment, beats = ActivityEnvironment(), 0

    def beat(*_: Any) -> None:
        nonlocal beats
        beats += 1

    environment.on_heartbeat = beat
    running = asyncio.create_task(environment.run(steps.generate, step()))
    await until(lambda: beats >= 3)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_stop_while_waiting_hangs_up_on_the_model(steps: GenerateSteps, model: FakeOpenAI) -> None:
    model.say("never", stop_after=0)
    environment = ActivityEnvironment()
    running = asyncio.create_task(environment.run(steps.generate, step()))
    await model.until(lambda: model.open_streams == 1)
    environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await model.until(lambda: model.open_streams == 0 and model.broken_off == 1, timeout_s=3)


async def test_an_early_end_and_an_empty_answer_are_said(steps: GenerateSteps, model: FakeOpenAI) -> None:
    model.say("Once upon", finish="length")
    assert "limit" in (await ActivityEnvironment().run(steps.generate, step())).text
    model.say("")
    assert (await ActivityEnvironment().run(steps.generate, step())).text == "(The model gave no answer.)"


def test_the_note_is_in_the_persons_language() -> None:
    assert in_full("好的", "time_limit", language="zh") == "好的\n\n（模型用时过长，回答在此中断。）"
    assert in_full("d'accord", "stop", language="fr") == "d'accord"


async def test_the_model_hears_rules_dialogue_and_question(steps: GenerateSteps, model: FakeOpenAI) -> None:
    dialogue = (DialogueLine(role="user", text="hi"), DialogueLine(role="assistant", text="hello"))
    await ActivityEnvironment().run(steps.generate, step(dialogue=dialogue, text="and now?"))
    heard = model.asked[0]["messages"]
    assert [line["role"] for line in heard] == ["system", "user", "assistant", "user"]
    assert [line["content"] for line in heard[1:]] == ["hi", "hello", "and now?"]


async def test_calls_come_with_their_parameters_or_what_is_wrong(
    steps: GenerateSteps, model: FakeOpenAI
) -> None:
    model.call("add", {"a": 1, "b": 2}, ("add", {"a": "x"}), ("other", {}), ("add", '{"a": NaN}'), text="Hm.")
    answer = await ActivityEnvironment().run(steps.generate, step(tools=(OFFERED,)))
    assert answer.text == "Hm."
    good, wrong, unheard, number = answer.calls
    assert (good.name, good.parameters, good.problem) == ("add", {"a": 1, "b": 2}, "")
    assert "a: must be a whole number" in wrong.problem
    assert "b: is missing" in wrong.problem
    assert "there are: add" in unheard.problem
    assert "not JSON" in number.problem
    assert len({call.id for call in answer.calls}) == 4
    (tool,) = model.asked[0]["tools"]
    assert tool["function"]["parameters"] == ADD.parameters


async def test_a_tool_that_changed_since_policy_was_asked_is_not_offered(
    steps: GenerateSteps, model: FakeOpenAI
) -> None:
    old = ToolOffer(name="add", content_hash="h0")
    await ActivityEnvironment().run(steps.generate, step(tools=(old, ToolOffer(name="gone"))))
    assert "tools" not in model.asked[0]


async def test_a_server_that_takes_no_tools_is_asked_without_and_remembered(
    steps: GenerateSteps, model: FakeOpenAI
) -> None:
    model.script("chat", status(400))
    model.say("Without.")
    model.say("Again.")
    assert (await ActivityEnvironment().run(steps.generate, step(tools=(OFFERED,)))).text == "Without."
    assert (await ActivityEnvironment().run(steps.generate, step(tools=(OFFERED,)))).text == "Again."
    assert ["tools" in asked for asked in model.asked] == [True, False, False]
    assert "cannot look anything up" in model.asked[1]["messages"][0]["content"]


async def test_a_server_that_refuses_with_and_without_tools_is_misconfigured(
    steps: GenerateSteps, model: FakeOpenAI
) -> None:
    model.script("chat", status(400), status(400), status(401))
    for why in ("refused the request", "API key"):
        with pytest.raises(Misconfigured, match=why):
            await ActivityEnvironment().run(steps.generate, step(tools=(OFFERED,)))
    assert ["tools" in asked for asked in model.asked] == [True, False, True]
    model.say("Well.")
    await ActivityEnvironment().run(steps.generate, step(tools=(OFFERED,)))
    assert "tools" in model.asked[-1], "it was not the tools"


async def test_what_tools_brought_is_told_as_the_tools_words(steps: GenerateSteps, model: FakeOpenAI) -> None:
    calls = (ToolRequest(id="call-0-0", name="add", parameters={"a": 1, "b": 2}),)
    done = ToolRound(text="Hm.", calls=calls, results=(ToolReturn(id="call-0-0", text="3"),))
    await ActivityEnvironment().run(steps.generate, step(tools=(OFFERED,), rounds=(done,)))
    *_, called, brought = model.asked[0]["messages"]
    assert called["content"] == "Hm."
    assert called["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 1, "b": 2}'}
    assert brought == {"role": "tool", "tool_call_id": "call-0-0", "content": "3"}


async def test_typing_is_shown_while_the_model_writes_and_delays_nothing(
    model: FakeOpenAI, updates: tuple[LivePublisher, Callable[[], Updates]]
) -> None:
    shown: list[str] = []

    @asynccontextmanager
    async def typing(conversation: ConversationRef) -> AsyncIterator[None]:
        shown.append("begins")
        yield
        shown.append("ends")

    route = {"kind": "openai", "base_url": model.base_url, "model": "tiny"}
    routes = ModelRoutes(Settings.model_validate({"llm": {"routes": {"main": route}}}), str)
    steps = GenerateSteps(routes, updates[0], typing=typing)
    await ActivityEnvironment().run(steps.generate, step(channel="telegram"))
    assert shown == ["begins", "ends"]
    await routes.close()


@workflow.defn(name="AskModel", sandboxed=False)
class AskModel:
    @workflow.run
    async def run(self, step: GenerateInput) -> Generated:
        answer: Generated = await workflow.execute_activity(
            "generate",
            step,
            result_type=Generated,
            start_to_close_timeout=timedelta(minutes=1),
            heartbeat_timeout=timedelta(seconds=10),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        return answer


@pytest.fixture
async def ask(steps: GenerateSteps) -> AsyncIterator[Callable[..., Any]]:
    environment = await WorkflowEnvironment.start_local(
        data_converter=pydantic_data_converter,
        dev_server_existing_path=str(Path(sys.executable).with_name("temporal")),
    )
    async with (
        environment,
        Worker(
            environment.client,
            task_queue="q",
            workflows=[AskModel],
            activities=[steps.generate],
            interceptors=[BoundaryInterceptor()],
            max_heartbeat_throttle_interval=timedelta(seconds=1),
        ),
    ):
        client = environment.client

        async def start(step: GenerateInput) -> Any:
            return await client.start_workflow(AskModel.run, step, id=str(uuid.uuid4()), task_queue="q")

        yield start


async def test_a_model_that_was_away_answers_when_it_is_back(ask: Any, model: FakeOpenAI) -> None:
    model.script("chat", status(503), too_many(1))
    model.say("here I am")
    assert (await (await ask(step())).result()).text == "here I am"
    assert len(model.asked) == 3


async def test_a_refusal_is_not_repeated(ask: Any, model: FakeOpenAI) -> None:
    model.script("chat", status(401))
    with pytest.raises(WorkflowFailureError) as raised:
        await (await ask(step())).result()
    assert isinstance(raised.value.cause, ActivityError)
    assert "API key" in str(raised.value.cause.cause)
    assert len(model.asked) == 1


async def test_a_stop_reaches_the_model_within_seconds(ask: Any, model: FakeOpenAI) -> None:
    model.say(*["word "] * 1000, pause_s=0.05)
    handle = await ask(step())
    await model.until(lambda: model.open_streams == 1)
    await handle.cancel()
    await model.until(lambda: model.open_streams == 0 and model.broken_off == 1, timeout_s=5)
    with pytest.raises(WorkflowFailureError):
        await handle.result()
