"""Processes that are killed in the middle of a call: what is told, what goes on, and what must not stay behind."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.api.tools.conftest import FUNCTIONS, SETTINGS, _await_tools
from tests.api.tools.support import Doors, by_grpc, by_mcp, rest
from tests.fakes.hook import FakeReceiver
from tests.portico.tools.mcp.test_source import Strange
from tests.support import RunningStack


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """A stack of these tests' own."""
    tmp_path = tmp_path_factory.mktemp("killed")
    strange = Strange(tmp_path)
    strange.offer(echo="Says it again.", surroundings="Tells who it is.", slow="Takes a while.", die="Ends.")
    with FakeReceiver() as receiver:
        command = json.dumps(strange.command)
        running = RunningStack(
            tmp_path / "home", settings=SETTINGS.format(receiver=receiver.port, command=command)
        )
        running.home.functions.mkdir(exist_ok=True)
        (running.home.functions / "of_tests.py").write_text(FUNCTIONS)
        try:
            running.start()
            doors = Doors(running, receiver, strange)
            _await_tools(doors, {"nap", "pal_echo"})
            yield doors
        finally:
            running.stop()


async def test_a_killed_worker_ends_calls_honestly_and_leaves_nothing(killed: Doors) -> None:
    key = await asyncio.to_thread(killed.key, "member")
    async with by_grpc(killed, key) as door, rest(killed, key) as other, by_mcp(killed, key) as third:
        told = await other.call("pal_surroundings", {"text": ""})
        pid = json.loads(told.output["text"])["pid"]
        calls = [
            asyncio.create_task(door.call("nap", {"seconds": 20})),
            asyncio.create_task(other.call("pal_slow", {"text": "100"})),
            asyncio.create_task(third.call("nap", {"seconds": 20})),
        ]
        await asyncio.sleep(1.5)
        killed.running.kill("worker")
        answers = await asyncio.gather(*calls)
        assert [answer.status in ("interrupted", "unknown") for answer in answers] == [True] * 3, answers
        await asyncio.to_thread(_await_end, pid)
        await asyncio.to_thread(_await_tools, killed, {"pal_echo", "nap"})
        assert (await third.call("pal_echo", {"text": "again"})).output == {"text": "you said again"}


async def test_a_program_that_ends_itself_is_started_again(killed: Doors) -> None:
    key = await asyncio.to_thread(killed.key, "member")
    await asyncio.to_thread(_await_tools, killed, {"pal_die"})
    async with rest(killed, key) as door:
        assert (await door.call("pal_die", {"text": "goodbye"})).status == "interrupted"
        ends = time.monotonic() + 30
        while (answer := await door.call("pal_echo", {"text": "again"})).status != "succeeded":
            assert time.monotonic() < ends, answer  # until it is there again it is said to be away
            await asyncio.sleep(0.5)


async def test_a_killed_edge_stops_no_run(killed: Doors) -> None:
    key = await asyncio.to_thread(killed.key, "member")
    async with by_mcp(killed, key) as door:
        going = await door.begin("nap", {"seconds": 5})
        invocation_id = await going.told()
        killed.running.kill("api")
        await going.stop()
    await asyncio.to_thread(killed.running.wait_ready, "api")
    async with httpx2.AsyncClient(
        headers={"Authorization": f"Bearer {key}"}, trust_env=False, timeout=60
    ) as http:
        found = await http.get(f"{killed.url}/v1/invocations/{invocation_id}", params={"wait_s": 30})
    assert found.json()["status"] == "succeeded"


def _await_end(pid: int) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
            os.kill(pid, 0)
        except (ProcessLookupError, FileNotFoundError):
            return
        time.sleep(0.05)
    raise AssertionError(f"the program {pid} of an MCP server outlived its worker")
