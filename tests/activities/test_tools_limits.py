"""Functions that misbehave: memory, processes, time, output, kills."""

from __future__ import annotations

import asyncio
import itertools
import time as clock
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities import tools as tools_module
from portico.contracts.messages import (
    ExecutionStatus,
)
from tests.activities.tools_bench import MEMORY_MIB, Bench, code, gone, processes_with

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wrong_type", "its answer, a str, is not what it declares"),
        ("missing_import", "'a_module_that_is_not_there', which is not there"),
        ("leaves", "ended its own process (7)"),
    ],
)
async def test_the_run_ends_with_what_the_function_did(bench: Bench, name: str, words: str) -> None:
    result = await bench.run(name)
    assert result.status is ExecutionStatus.FAILED
    assert result.error is not None
    assert words in result.error.message
    assert (await bench.run("calculator", expression="1+1")).status is ExecutionStatus.SUCCEEDED


async def test_a_flood_of_output_drowns_nothing(bench: Bench) -> None:
    assert (await bench.run("flood")).output == "flooded"


async def test_a_function_that_forks_answers_once(bench: Bench) -> None:
    assert (await bench.run("forks")).output == "once"


async def test_a_bomb_of_processes_is_ended_with_the_limit(bench: Bench) -> None:
    before = bench.pool.pids
    result = await bench.run("bomb")
    assert result.error is not None
    assert "more than 128 processes" in result.error.message
    await gone(list(bench.pool.pids - before))
    assert not processes_with("/bin/sleep\x0060")


async def test_what_a_function_leaves_behind_is_ended(bench: Bench) -> None:
    output: Any = (await bench.run("leaves_behind")).output
    await gone(output)


async def test_memory_has_a_limit(bench: Bench) -> None:
    result = await bench.run("greedy", mib=4 * MEMORY_MIB)
    assert result.error is not None
    assert "ran out of memory" in result.error.message


async def test_a_tool_that_cancels_itself_has_failed(bench: Bench) -> None:
    assert code(await bench.run("broken_async", how="cancelled")) == "tool_failed"


async def test_a_tool_that_takes_too_long_is_told_to_stop(bench: Bench) -> None:
    await bench.run("calculator", expression="1")
    begun = clock.monotonic()
    result = await bench.run("slow")
    assert (result.status, code(result)) == (ExecutionStatus.FAILED, "timeout")
    assert clock.monotonic() - begun < 3


async def test_an_effect_that_may_have_happened_is_unknown_not_failed(bench: Bench) -> None:
    result = await bench.run("deaf")
    assert (result.status, code(result)) == (ExecutionStatus.UNKNOWN, "timeout")


async def test_a_killed_process_is_repeated_where_that_is_declared(bench: Bench) -> None:
    with pytest.raises(ApplicationError) as raised:
        await bench.run("dies")
    assert raised.value.type == "interrupted"
    assert not raised.value.non_retryable


async def test_a_killed_process_leaves_an_unknown_end_elsewhere(bench: Bench) -> None:
    result = await bench.run("dies_once")
    assert (result.status, code(result)) == (ExecutionStatus.UNKNOWN, "interrupted")


async def test_too_many_at_once_are_refused_with_the_limit(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools_module, "QUEUE_S", 0.2)
    first, second = await asyncio.gather(bench.run("alone", seconds=1), bench.run("alone", seconds=1))
    refused = first if first.status is ExecutionStatus.FAILED else second
    assert code(refused) == "too_many"
    assert refused.error is not None
    assert "1 times at once" in refused.error.message


async def test_calls_of_one_tool_take_turns(bench: Bench) -> None:
    results = await asyncio.gather(*(bench.run("alone", seconds=0.2) for _ in range(3)))
    begun = sorted(float(str(one.output)) for one in results)
    assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(begun))
