"""The stream of a run's events: what it tells, how it is taken up again, and that it lets go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest

from api.limits import WATCHED_AT_ONCE
from api.tools import events
from api.tools.runs import ToolEvent
from tests.api.tools.support import Doors


@pytest.fixture
async def http(doors: Doors) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"Authorization": f"Bearer {await asyncio.to_thread(doors.key, 'member')}"}
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(
        base_url=doors.url, headers=headers, trust_env=False, timeout=30, limits=limits
    ) as client:
        yield client


async def begun(http: httpx2.AsyncClient, seconds: float) -> str:
    body = {"toolName": "nap", "parameters": {"seconds": seconds}}
    return str((await http.post("/v1/invocations", json=body)).json()["invocationId"])


async def all_of(http: httpx2.AsyncClient, invocation_id: str, *, last: str = "") -> list[dict[str, str]]:
    headers = {"Last-Event-ID": last} if last else {}
    events = []
    answer = await http.get(f"/v1/invocations/{invocation_id}/events", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    for block in answer.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            events.append(fields)
    return events


async def test_a_run_is_told_from_where_it_stands_to_its_end(http: httpx2.AsyncClient) -> None:
    invocation_id = await begun(http, 1.5)
    events = await all_of(http, invocation_id)
    assert [event["event"] for event in events][-1] == "ended"
    assert {event["event"] for event in events[:-1]} == {"progress"}
    assert any(invocation_id in event["data"] and '"fraction":0.5' in event["data"] for event in events[:-1])
    assert '"status":"succeeded"' in events[-1]["data"]
    assert "output_blob" not in events[-1]["data"]


async def test_who_comes_back_is_not_told_twice(http: httpx2.AsyncClient) -> None:
    invocation_id = await begun(http, 0)
    ended = (await all_of(http, invocation_id))[-1]
    again = await http.get(f"/v1/invocations/{invocation_id}/events", headers={"Last-Event-ID": ended["id"]})
    assert (again.status_code, again.content) == (204, b"")
    assert (await all_of(http, invocation_id, last="something else"))[0] == ended


async def test_another_persons_run_and_none_are_the_same(doors: Doors, http: httpx2.AsyncClient) -> None:
    mine = await begun(http, 0)
    other = {"Authorization": f"Bearer {await asyncio.to_thread(doors.key, 'service')}"}
    for name in (mine, "tool-none", "x", "conversation-1"):
        answer = await http.get(f"/v1/invocations/{name}/events", headers=other)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    nobody = await http.get(f"/v1/invocations/{mine}/events", headers={"Authorization": "Bearer pk_x"})
    assert nobody.status_code == 401


async def test_who_hangs_up_leaves_their_place(http: httpx2.AsyncClient) -> None:
    invocation_id = await begun(http, 60)
    path = f"/v1/invocations/{invocation_id}/events"

    async def hold(open_: asyncio.Semaphore) -> None:
        async with http.stream("GET", path) as stream:
            assert stream.status_code == 200
            lines = aiter(stream.aiter_lines())
            await anext(lines)
            open_.release()
            await asyncio.sleep(60)

    opened = asyncio.Semaphore(0)
    holding = [asyncio.create_task(hold(opened)) for _ in range(WATCHED_AT_ONCE)]
    async with asyncio.timeout(20):
        for _ in holding:
            await opened.acquire()
    refused = await http.get(path)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many")
    assert int(refused.headers["retry-after"]) > 0
    for task in holding:
        task.cancel()
    await asyncio.gather(*holding, return_exceptions=True)
    async with asyncio.timeout(10):
        while True:
            async with http.stream("GET", path) as stream:
                if stream.status_code == 200:
                    break
            await asyncio.sleep(0.1)
    ended = await http.post(f"/v1/invocations/{invocation_id}/cancel", params={"wait_s": 10})
    assert (ended.status_code, ended.json()["status"]) == (200, "cancelled")


async def test_a_silent_run_is_kept_company(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.01)
    let = asyncio.Event()
    closed = asyncio.Event()

    async def happening() -> AsyncIterator[ToolEvent]:
        try:
            await let.wait()
            yield ToolEvent("progress", "half", 0.5)
            await asyncio.Event().wait()
        finally:
            closed.set()

    frames = events._with_heartbeats(happening())
    assert [await anext(frames) for _ in range(2)] == [b": still here\n\n"] * 2
    let.set()
    found = b""
    while found.startswith(b":") or not found:
        found = await anext(frames)
    assert b'event: progress\ndata: {"text":"half","fraction":0.5}' in found
    await frames.aclose()
    await asyncio.wait_for(closed.wait(), 1)
