"""What MCP alone has: two revisions of the protocol, origins, pictures, and ways to stop a call."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.api.tools.support import Doors, Mcp, by_mcp, rest

NOW, BEFORE = "2026-07-28", "2025-11-25"
ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


@pytest.fixture
async def member(doors: Doors) -> str:
    return await asyncio.to_thread(doors.key, "member")


@pytest.fixture
async def http(doors: Doors, member: str) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"Authorization": f"Bearer {member}", **ACCEPT}
    async with httpx2.AsyncClient(base_url=doors.url, headers=headers, trust_env=False, timeout=30) as client:
        yield client


def message(method: str, params: dict[str, Any] | None = None, *, number: int | None = 1) -> dict[str, Any]:
    asked = {"jsonrpc": "2.0", "method": method, "params": params or {}}
    return asked if number is None else {**asked, "id": number}


async def test_the_revision_of_today_and_the_one_before(doors: Doors, member: str) -> None:
    for mode, version in (("auto", NOW), (NOW, NOW), ("legacy", BEFORE)):
        async with by_mcp(doors, member, mode=mode) as door:
            assert isinstance(door, Mcp)
            assert door.client.protocol_version == version
            assert "nap" in await door.tools()


async def test_a_person_is_offered_what_policy_would_let_them_use(doors: Doors, member: str) -> None:
    async with by_mcp(doors, member) as door, by_mcp(doors, doors.owner_key) as owners:
        mine, theirs = await door.tools(), await owners.tools()
    assert "launch" not in mine
    assert {"change", "nap", "pal_echo"} <= mine
    assert theirs - mine >= {"launch"}
    assert "script" not in theirs  # it is unavailable in this stack


async def test_a_tool_says_what_it_does_to_the_world(doors: Doors, member: str) -> None:
    async with by_mcp(doors, member) as door:
        assert isinstance(door, Mcp)
        tools = {tool.name: tool for tool in (await door.client.list_tools()).tools}
    hints = tools["change"].annotations
    assert hints is not None
    assert (hints.read_only_hint, hints.destructive_hint) == (False, True)
    assert tools["nap"].input_schema["properties"]["seconds"] == {"type": "number"}


async def test_pictures_are_seen_and_files_are_linked(
    doors: Doors, member: str, http: httpx2.AsyncClient
) -> None:
    async with by_mcp(doors, member) as door:
        assert isinstance(door, Mcp)
        found = await door.client.call_tool("paint", {"size": 5})
    content: list[Any] = list(found.content)
    text, image, link = content
    assert (image.type, image.mime_type) == ("image", "image/png")
    assert (link.type, link.name, link.size) == ("resource_link", "words.txt", 5)
    assert (await http.get(link.uri)).content == b"xxxxx"
    async with httpx2.AsyncClient(trust_env=False) as nobody:
        assert (await nobody.get(link.uri)).status_code == 401
    assert json.loads(text.text)["size"] == 5


async def test_who_has_no_key_is_told_nothing(doors: Doors, http: httpx2.AsyncClient) -> None:
    wrong: list[dict[str, str]] = [{"Authorization": "Bearer pk_guessed"}, {"Authorization": "Basic eDp5"}]
    for headers in wrong:
        answer = await http.post("/mcp", json=message("tools/list"), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "refused")
        assert answer.headers["www-authenticate"] == "Bearer"
    with doors.client() as owner:
        link = owner.post("/v1/login-links").json()["path"]
    async with httpx2.AsyncClient(base_url=doors.url, trust_env=False, headers=ACCEPT) as browser:
        assert (await browser.get(link)).status_code == 303
        assert (await browser.get("/v1/me")).status_code == 200
        assert (await browser.post("/mcp", json=message("tools/list"))).status_code == 401


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1.evil.example", "http://[::2]"]
)
async def test_a_page_of_elsewhere_may_not_call(http: httpx2.AsyncClient, origin: str) -> None:
    host = origin.partition("://")[2] or "evil.example"
    answer = await http.post("/mcp", json=message("tools/list"), headers={"Origin": origin, "Host": host})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("origin", ["http://localhost:6274", "http://127.0.0.1:1", "http://[::1]:8080"])
async def test_a_page_of_this_machine_may(http: httpx2.AsyncClient, origin: str) -> None:
    headers = {"Origin": origin, "MCP-Protocol-Version": BEFORE}
    answer = await http.post("/mcp", json=message("tools/list"), headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize("version", [NOW, BEFORE, "1999-01-01", None])
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"[" * 100_000, b'{"jsonrpc":"2.0","id":{},"method":1}', b"\xff\xfe"],
)
async def test_nonsense_is_a_client_error(http: httpx2.AsyncClient, body: bytes, version: str | None) -> None:
    headers = {"MCP-Protocol-Version": version} if version else {}
    answer = await http.post("/mcp", content=body, headers=headers)
    assert 400 <= answer.status_code < 500


async def test_too_large_too_slow_and_other_methods(doors: Doors, http: httpx2.AsyncClient) -> None:
    assert (await http.post("/mcp", content=b" " * 300_000)).status_code == 413
    for method in ("GET", "DELETE", "PUT"):
        answer = await http.request(method, "/mcp")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")

    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(4)
        yield b"}"

    assert (await http.post("/mcp", content=slowly())).status_code == 408


async def test_no_session_is_made(http: httpx2.AsyncClient) -> None:
    hello = {"protocolVersion": BEFORE, "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    answer = await http.post("/mcp", json=message("initialize", hello))
    assert answer.status_code == 200
    assert "mcp-session-id" not in answer.headers
    elsewhere = {"MCP-Protocol-Version": BEFORE, "Mcp-Session-Id": "of-another-process"}
    assert (await http.post("/mcp", json=message("tools/list"), headers=elsewhere)).status_code == 200


async def test_before_hanging_up_meant_stopping_a_message_stops(
    doors: Doors, member: str, http: httpx2.AsyncClient
) -> None:
    """Clients of the revision before say `notifications/cancelled`; only the same key's one call is meant."""
    headers = {"MCP-Protocol-Version": BEFORE}
    params = {"name": "nap", "arguments": {"seconds": 50}, "_meta": {"progressToken": 7}}
    stop = message("notifications/cancelled", {"requestId": 41}, number=None)
    other = await asyncio.to_thread(doors.key, "service")
    async with http.stream(
        "POST", "/mcp", json=message("tools/call", params, number=41), headers=headers
    ) as call:
        events = call.aiter_lines()
        async for line in events:
            if "tool-" in line:
                break
        strangers = {**headers, "Authorization": f"Bearer {other}"}
        assert (await http.post("/mcp", json=stop, headers=strangers)).status_code == 202
        async for line in events:
            if "tool-" in line:
                break
        assert (await http.post("/mcp", json=stop, headers=headers)).status_code == 202
        rest_of_it = [line async for line in events]
    assert "cancelled: " in "".join(rest_of_it)


async def test_before_who_lost_the_line_stops_nothing(
    doors: Doors, member: str, http: httpx2.AsyncClient
) -> None:
    headers = {"MCP-Protocol-Version": BEFORE}
    params = {"name": "nap", "arguments": {"seconds": 3}, "_meta": {"progressToken": 7}}
    invocation_id = ""
    async with http.stream("POST", "/mcp", json=message("tools/call", params), headers=headers) as call:
        async for line in call.aiter_lines():
            if "tool-" in line:
                invocation_id = json.loads(line.removeprefix("data: "))["params"]["message"]
                break
    async with rest(doors, member):
        ended = await http.get(f"/v1/invocations/{invocation_id}", params={"wait_s": 20})
    assert ended.json()["status"] == "succeeded"


def test_nobody_pays_for_the_sdk_before_the_first_client() -> None:
    """It costs most of a second and 18 MiB in each process."""
    loaded = "import sys, entrypoints.serve.api, entrypoints.serve.worker; print('mcp' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == "False\n"
