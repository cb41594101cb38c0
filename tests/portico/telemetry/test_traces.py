"""Traces from the webhook to the delivery, by the real parts, as a collector receives them."""

from __future__ import annotations

import json
import re
import time

import pytest

from portico.ids import tool_run_id
from portico.telemetry.traces import FACTS
from tests.fakes.otlp import TakenSpan
from tests.fakes.server import drop, status
from tests.guarantees.platforms import new_chat
from tests.portico.telemetry.conftest import Watched

CONTENT = "zwetschgenknoedel"
ANSWER = "quittengelee"
NAME = "Balthasar"
STEPS = {
    *(
        "receive",
        "normalize",
        "authorize_inbound",
        "understand",
        "offer_tools",
        "authorize_model",
        "retrieve",
    ),
    *("generate", "authorize_egress", "deliver", "remember", "turn"),
}


def turn_said(watched: Watched, text: str, *, chat: int) -> str:
    """Say something, wait for the reply, and for the last span of its turn. Returns the turn."""
    known = {span.turn for span in watched.traces.spans}
    before = len(watched.bot.texts(chat))
    watched.say(text, chat=chat)
    watched.bot.wait_until(lambda: len(watched.bot.texts(chat)) > before, timeout_s=60, what="a reply")
    return watched.traces.wait_for("remember", lambda span: span.turn not in known).turn


def spans_of(watched: Watched, turn: str) -> list[TakenSpan]:
    """Of the edge and of the worker: each sends its own in its own time."""
    for last in ("receive", "turn"):
        watched.traces.wait_for(last, lambda span: span.turn == turn)
    return sorted(watched.traces.of_turn(turn), key=lambda span: span.start_ns)


@pytest.fixture(scope="module")
def told(watched: Watched) -> list[TakenSpan]:
    """The spans of one turn that a language model answered."""
    watched.model.say(f"Take {ANSWER}")
    chat = new_chat()
    return spans_of(watched, turn_said(watched, f"Write a poem about {CONTENT} for {NAME}", chat=chat))


def test_a_turn_is_one_trace_from_the_webhook_to_the_delivery(told: list[TakenSpan]) -> None:
    assert {span.name for span in told} == STEPS
    assert {span.trace for span in told} == {told[0].turn}, "the trace's id is the turn's"
    root = next(span for span in told if span.name == "receive")
    assert root.parent == ""
    assert {span.parent for span in told if span is not root} == {root.id}
    assert {span.part for span in told} == {"portico-api", "portico-worker"}
    assert len({span.id for span in told}) == len(told)


def test_the_turns_own_span_covers_its_steps(told: list[TakenSpan]) -> None:
    named = {span.name: span for span in told}
    assert named["turn"].start_ns <= named["normalize"].start_ns
    assert named["turn"].end_ns >= named["deliver"].start_ns
    assert named["turn"].start_ns == pytest.approx(named["receive"].start_ns, abs=1_000_000)


def test_spans_name_the_decision_the_route_and_the_outcome(told: list[TakenSpan]) -> None:
    named = {span.name: span.facts for span in told}
    assert named["generate"]["portico.route"] == "main"
    assert named["generate"]["gen_ai.usage.output_tokens"] > 0
    assert named["deliver"]["portico.outcome"] == "sent"
    asked = named["authorize_inbound"]
    assert asked["portico.decision.effect"] == "allow"
    assert re.fullmatch(r"[0-9a-f]{32}", asked["portico.decision.id"])


def test_no_span_holds_what_was_said_or_who_said_it(watched: Watched, told: list[TakenSpan]) -> None:
    assert told
    sent = b"".join(watched.traces.bodies)
    for word in (CONTENT, ANSWER, NAME, "poem", "/lost"):
        assert word.encode() not in sent, word
    known = set(FACTS.values())
    assert {name for span in watched.traces.spans for name in span.facts} <= known


def test_no_fact_of_a_person_is_told(watched: Watched, told: list[TakenSpan]) -> None:
    chats = {str(call.payload.get("chat_id")) for call in watched.bot.called("sendMessage")}
    values = {str(value) for span in watched.traces.spans for value in span.facts.values()}
    assert chats and told
    assert not chats & values


def test_a_traceparent_from_outside_is_not_taken(watched: Watched) -> None:
    foreign = "ab" * 16
    answer = watched.call(
        "POST",
        "/v1/messages?wait_s=30",
        {"text": "/whoami"},
        headers={"traceparent": f"00-{foreign}-{'cd' * 8}-01"},
    )
    turn = answer.body["turn"]
    watched.traces.wait_for("remember", lambda span: span.turn == turn)
    assert {span.trace for span in watched.traces.of_turn(turn)} == {turn}
    assert foreign not in {span.trace for span in watched.traces.spans}


def test_a_tools_steps_are_in_the_trace_of_the_turn_that_started_it(watched: Watched) -> None:
    watched.model.call("calculator", {"expression": "6*7"})
    watched.model.say("It is done")
    turn = turn_said(watched, "Write a poem about six times seven", chat=new_chat())
    ran = watched.traces.wait_for("execute", lambda span: span.turn == turn)
    assert ran.facts["portico.tool"] == "calculator"
    assert ran.facts["portico.invocation.id"] == tool_run_id(turn, 0)
    assert {span.trace for span in watched.traces.of_turn(turn)} == {turn}


def test_a_call_at_the_door_is_a_trace_of_its_own(watched: Watched) -> None:
    called = {"toolName": "calculator", "parameters": {"expression": "2+3"}}
    answer = watched.call("POST", "/v1/invocations?wait_s=30", called)
    invocation = answer.body["invocationId"]
    root = watched.traces.wait_for("invoke", lambda span: span.turn == invocation)
    ran = watched.traces.wait_for("execute", lambda span: span.turn == invocation)
    assert (ran.trace, ran.parent) == (root.trace, root.id)


def test_an_event_told_twice_runs_once(watched: Watched) -> None:
    chat = new_chat()
    known = {span.turn for span in watched.traces.spans}
    update = watched.say("/whoami", chat=chat)
    watched.bot.wait_until(lambda: watched.bot.texts(chat), timeout_s=60)
    watched.bot.deliver(watched.webhook(), update, secret="secret-of-the-guarantees")
    first = watched.traces.wait_for("remember", lambda span: span.turn not in known).turn
    again = watched.traces.wait_for("receive", lambda span: span.turn not in {*known, first}).turn
    turn_said(watched, "/whoami", chat=chat)
    assert {span.name for span in watched.traces.of_turn(again)} == {"receive"}


def test_a_replay_tells_nothing_twice(watched: Watched) -> None:
    """A killed worker's successor replays the conversation's history before it goes on."""
    chat = new_chat()
    first = turn_said(watched, "/whoami", chat=chat)
    told = {(span.name, span.id) for span in spans_of(watched, first)}
    watched.kill("worker")
    second = turn_said(watched, "/whoami", chat=chat)
    spans_of(watched, second)
    time.sleep(1.2)  # spans are sent once a second
    assert {(span.name, span.id) for span in watched.traces.of_turn(first)} == told
    ids = [span.id for span in watched.traces.of_turn(first) + watched.traces.of_turn(second)]
    assert len(ids) == len(set(ids))
    names = [span.name for span in watched.traces.of_turn(second)]
    assert names.count("turn") == names.count("deliver") == 1


def test_a_collector_that_refuses_costs_no_turn(watched: Watched) -> None:
    watched.traces.script("traces", status(500), times=50)
    chat = new_chat()
    watched.say("/whoami", chat=chat)
    watched.bot.wait_until(lambda: watched.bot.texts(chat), timeout_s=60, what="a reply")
    watched.traces.clear_script()


def test_lines_of_the_log_name_the_trace(watched: Watched) -> None:
    """As one JSON object each, by every process, without what was said."""
    chat = new_chat()
    known = {span.turn for span in watched.traces.spans}
    watched.bot.script_chat(chat, drop(taken=False))
    watched.say(f"/whoami {CONTENT}", chat=chat)
    watched.bot.wait_until(lambda: watched.bot.texts(chat), timeout_s=60, what="a reply")
    failed = watched.traces.wait_for("deliver", lambda span: span.failed and span.turn not in known)
    assert (failed.facts["error.type"], failed.facts["portico.end"]) == ("unavailable", "again")
    turn = failed.turn
    lines = (watched.stack.home.logs / "worker.log").read_text().splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines if line)
    assert turn in {json.loads(line).get("trace_id") for line in lines if line}
    for log in watched.stack.home.logs.iterdir():
        assert CONTENT not in log.read_text(), log.name
