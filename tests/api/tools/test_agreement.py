"""Every door says the same of the same call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from tests.api.tools.support import (
    Answer,
    Door,
    Doors,
    Rest,
    answer_of,
    by_grpc,
    by_mcp,
    by_mcp_before,
    rest,
)

Open = Callable[[Doors, str], AbstractAsyncContextManager[Door]]
ALL: list[Open] = [rest, by_grpc, by_mcp, by_mcp_before]


@pytest.fixture(params=ALL, ids=["rest", "grpc", "mcp", "mcp-before"])
def opened(request: pytest.FixtureRequest) -> Open:
    door: Open = request.param
    return door


@pytest.fixture
def member(doors: Doors) -> str:
    return doors.key("member")


async def test_an_unknown_tool_is_named_with_the_nearest(doors: Doors, member: str, opened: Open) -> None:
    async with opened(doors, member) as door:
        answer = await door.call("calculater", {"expression": "1"})
    assert answer == Answer(
        "", "no_such_tool", "the tool 'calculater' was not found; did you mean calculator?"
    )


async def test_every_fault_of_the_parameters_is_named(doors: Doors, member: str, opened: Open) -> None:
    async with opened(doors, member) as door:
        answer = await door.call("nap", {"seconds": "long", "depth": 3})
    words = "nap: depth: no such parameter; seconds: must be a number"
    assert answer == Answer("", "bad_parameters", words)


async def test_what_policy_forbids_is_denied(doors: Doors, member: str, opened: Open) -> None:
    async with opened(doors, member) as door:
        answer = await door.call("launch", {"target": "moon"})
    assert answer == Answer("denied", "denied", "a high risk, for owner and admins only")


async def test_what_a_tool_refuses_is_its_own_words(doors: Doors, member: str, opened: Open) -> None:
    async with opened(doors, member) as door:
        answer = await door.call("calculator", {"expression": "1 +"})
    assert (answer.status, answer.code) == ("failed", "ask_again")
    assert answer.words


async def test_the_calculator_calculates(doors: Doors, member: str, opened: Open) -> None:
    async with opened(doors, member) as door:
        answer = await door.call("calculator", {"expression": "17*23"})
        assert "calculator" in await door.tools()
    assert answer.status == "succeeded"
    assert answer.output == {"text": "17 × 23 = 391", "result": "391", "exact": True, "expression": "17*23"}


async def test_a_tool_of_an_mcp_server_is_one_of_ours(doors: Doors, member: str, opened: Open) -> None:
    async with opened(doors, member) as door:
        answer = await door.call("pal_echo", {"text": "hello"})
    assert (answer.status, answer.output) == ("succeeded", {"text": "you said hello"})


async def test_a_run_tells_how_far_it_is_and_can_be_stopped(doors: Doors, member: str, opened: Open) -> None:
    async with opened(doors, member) as door:
        going = await door.begin("nap", {"seconds": 50})
        invocation_id = await going.told()
        await going.stop()
        async with rest(doors, member) as looking:
            answer = await _ended(looking, invocation_id)
    assert answer.status == "cancelled"


async def test_a_yes_is_waited_for_and_then_it_runs(doors: Doors, member: str, opened: Open) -> None:
    async with opened(doors, member) as door, rest(doors, doors.owner_key) as owner:
        assert isinstance(owner, Rest)
        calling = asyncio.create_task(door.call("change", {"what": opened.__name__}))
        invocation_id = await _waiting(owner, opened.__name__)
        assert not calling.done()
        answered = await owner.http.post(f"/v1/approvals/{invocation_id}", json={"approved": True})
        assert answered.status_code == 200
        answer = await calling
    assert (answer.status, answer.output) == ("succeeded", f"changed {opened.__name__}")


async def test_a_no_is_a_denial(doors: Doors, member: str, opened: Open) -> None:
    async with opened(doors, member) as door, rest(doors, doors.owner_key) as owner:
        assert isinstance(owner, Rest)
        calling = asyncio.create_task(door.call("change", {"what": f"not {opened.__name__}"}))
        invocation_id = await _waiting(owner, f"not {opened.__name__}")
        await owner.http.post(f"/v1/approvals/{invocation_id}", json={"approved": False})
        answer = await calling
    assert answer.status == "denied"


async def test_what_cannot_run_now_says_why(doors: Doors, member: str, opened: Open) -> None:
    async with opened(doors, member) as door:
        answer = await door.call("script", {"code": "1"})
    assert (answer.status, answer.code) == ("failed", "unavailable")
    assert "the sandbox is switched off" in answer.words


async def _waiting(owner: Rest, shown: str) -> str:
    async with asyncio.timeout(20):
        while True:
            for one in (await owner.http.get("/v1/approvals")).json():
                if f'"{shown}"' in str(one):
                    return str(one["invocation_id"])
            await asyncio.sleep(0.1)


async def _ended(door: Door, invocation_id: str) -> Answer:
    assert isinstance(door, Rest)
    async with asyncio.timeout(20):
        found = await door.http.get(f"/v1/invocations/{invocation_id}", params={"wait_s": 15})
    return answer_of(found.json())
