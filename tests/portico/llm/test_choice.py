"""The order in which allowed routes are tried, and what a failing route costs the others."""

from __future__ import annotations

from typing import Any

import pytest

from portico.contracts.messages import Decision, Effect, Obligation
from portico.contracts.steps import AllowedRoute, RouteRef
from portico.llm.choice import in_order, rank, refusals
from portico.llm.circuit import FIRST_REST_S, LONGEST_REST_S, Circuit
from portico.llm.meter import Meter
from portico.llm.types import Delta, ModelCall, OfferedTool


def asked(name: str, *ranks: Any, effect: Effect = Effect.ALLOW) -> AllowedRoute:
    obligations = tuple(Obligation(kind="prefer", rank=one) for one in ranks)
    decision = Decision(effect=effect, reasons=("because",), obligations=obligations)
    return AllowedRoute(route=RouteRef(name=name, model="m"), decision=decision)


A, B, C = asked("a", 20), asked("b", 10), asked("c", 10)


def names(*routes: AllowedRoute, **options: Any) -> list[str]:
    return [one.route.name for one in in_order(routes, **options)]


def test_a_refused_route_is_never_among_them() -> None:
    refused = asked("a", 1, effect=Effect.DENY)
    wanting = asked("c", 1, effect=Effect.ASK)
    assert names(refused, B, wanting, pinned="a", preferred="c") == ["b"]
    assert refusals((refused, B, wanting)) == ("a: because", "c: because")


def test_a_pinned_route_that_is_not_there_is_told() -> None:
    assert refusals((B,), pinned="x") == ("x: there is no such route",)
    assert names(B, C, pinned="x") == ["b", "c"]


def test_rank_comes_before_the_order_of_the_file_and_intent_before_rank_and_pin_before_all() -> None:
    assert names(A, B, C) == ["b", "c", "a"]
    assert names(A, B, C, preferred="a") == ["a", "b", "c"]
    assert names(A, B, C, preferred="a", pinned="c") == ["c", "a", "b"]


def test_a_failing_route_is_tried_last_even_a_pinned_one() -> None:
    assert names(A, B, C, pinned="c", failing={"c", "b"}) == ["a", "c", "b"]
    assert names(B, failing={"b"}) == ["b"]


@pytest.mark.parametrize(
    ("ranks", "least"), [((), 50), ((3, 1, 2), 1), ((1.5,), 1.5), (("first",), 50), ((None, 7), 7)]
)
def test_the_least_rank_counts_and_a_strange_one_does_not(ranks: tuple[Any, ...], least: float) -> None:
    assert rank(asked("a", *ranks).decision) == least


def test_a_route_rests_longer_with_each_failure_and_is_back_when_it_answers() -> None:
    now = [0.0]
    circuit = Circuit(clock=lambda: now[0])
    circuit.failed("a")
    assert circuit.failing() == {"a"}
    now[0] += FIRST_REST_S
    assert circuit.failing() == frozenset()
    for _ in range(10):
        circuit.failed("a")
    now[0] += LONGEST_REST_S - 1
    assert circuit.failing() == {"a"}
    circuit.answered("a")
    assert circuit.failing() == frozenset()


def test_a_route_rests_as_long_as_it_asks_for() -> None:
    now = [0.0]
    circuit = Circuit(clock=lambda: now[0])
    circuit.failed("a", retry_after_s=90)
    now[0] += 89
    assert circuit.failing() == {"a"}


def test_tokens_are_the_servers_where_it_counts() -> None:
    meter = Meter([{"role": "user", "content": "hello"}])
    meter.add(Delta("Hi"))
    meter.add(Delta("", input_tokens=11, output_tokens=1, finish="stop"))
    assert (meter.tokens().input, meter.tokens().output, meter.tokens().estimated) == (11, 1, False)


@pytest.mark.parametrize("count", [-1, 10**12, 10**30, None])
def test_a_count_that_is_none_is_reckoned(count: int | None) -> None:
    meter = Meter([{"role": "user", "content": "hello"}])
    meter.add(Delta("four", input_tokens=count, output_tokens=1))
    assert meter.tokens().estimated
    assert 0 < meter.tokens().input < 100


def test_tokens_are_reckoned_where_it_does_not() -> None:
    tool = OfferedTool("add", "Adds.", {"type": "object"})
    meter = Meter([{"role": "user", "content": "x" * 4000}], [tool])
    meter.add(Delta("你好" * 10))
    meter.add(Delta("", output_tokens=-5, calls=(ModelCall("1", "add", '{"a": 1}'),)))
    tokens = meter.tokens()
    assert tokens.estimated
    assert 1000 < tokens.input < 1060
    assert tokens.output == 18  # 60 bytes of Chinese, 11 of the call
