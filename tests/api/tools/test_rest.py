"""Tools by REST, through the real stack: what is refused, what is waited for, and what a killed worker leaves."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.api.conftest import EdgeStack

FUNCTIONS = '''
from __future__ import annotations

import time
from pathlib import Path

from portico.tool import ToolContext, tool


@tool(effects="none", risk="low", timeout_s=60, repeatable=True)
def again(marks: str, seconds: float) -> int:
    """Leaves a mark and takes its time; may be repeated."""
    with Path(marks).open("a") as file:
        file.write("x")
    time.sleep(seconds if Path(marks).read_text() == "x" else 0)
    return len(Path(marks).read_text())


@tool(effects="none", risk="low", timeout_s=60)
def once(marks: str, seconds: float) -> int:
    """Leaves a mark and takes its time; must not be repeated."""
    with Path(marks).open("a") as file:
        file.write("x")
    time.sleep(seconds)
    return len(Path(marks).read_text())


@tool(effects="none", risk="low")
def letters(context: ToolContext, count: int) -> str:
    """Many letters, and a file."""
    context.progress("writing", 0.5)
    context.artifact("page.html", b"<script>alert(1)</script>", "text/html")
    return "a" * count


@tool(effects="write", risk="low")
def keeps(context: ToolContext, text: str) -> str:
    """Keeps a note."""
    context.workspace.write("note.txt", text.encode())
    return text


@tool(effects="write", risk="medium")
def announces(text: str) -> str:
    """Tells everybody."""
    return text
'''


def until(found: Callable[[], Any], *, within_s: float = 30) -> Any:
    end = time.monotonic() + within_s
    while not (value := found()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value


@pytest.fixture(scope="module", autouse=True)
def functions(edge: EdgeStack) -> Iterator[None]:
    path = edge.running.home.functions / "of_the_tests.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(FUNCTIONS)
    with edge.person() as owner:
        until(lambda: "again" in {tool["name"] for tool in owner.get("/v1/tools").json()})
    yield
    path.unlink()


@pytest.fixture
def member(edge: EdgeStack) -> Iterator[httpx2.Client]:
    with edge.person(edge.key("member", "a caller")) as client:
        yield client


def call(client: httpx2.Client, name: str, *, wait_s: float = 30, key: str = "", **parameters: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    body = {"toolName": name, "parameters": parameters}
    return client.post("/v1/invocations", params={"wait_s": wait_s}, json=body, headers=headers)


# --- refused before anything is asked ---------------------------------------------------------------------


def test_an_unknown_tool_is_404_with_the_nearest_names(member: httpx2.Client) -> None:
    answer = call(member, "calculater")
    assert answer.status_code == 404
    assert (answer.json()["code"], answer.json()["nearest"][0]) == ("no_such_tool", "calculator")
    assert call(member, "zzzz").json()["nearest"] == []


def test_each_fault_is_named_with_its_path_and_never_its_value(member: httpx2.Client) -> None:
    answer = call(member, "again", marks=5, more="of-no-use", seconds="a-secret-value")
    assert answer.status_code == 422
    faults = {fault["path"]: fault["message"] for fault in answer.json()["faults"]}
    assert faults == {"marks": "must be text", "more": "no such parameter", "seconds": "must be a number"}
    assert "a-secret-value" not in answer.text


def test_a_key_names_one_call(member: httpx2.Client) -> None:
    key = uuid.uuid4().hex
    first = call(member, "calculator", key=key, expression="1+1")
    again = call(member, "calculator", key=key, expression="1+1")
    assert first.json()["invocationId"] == again.json()["invocationId"]
    assert call(member, "calculator", key=key, expression="2+2").status_code == 409


@pytest.mark.parametrize(
    "url", ["ftp://example.org/x", "http://127.0.0.1/", "http://169.254.169.254/latest", "x"]
)
def test_a_callback_to_where_nothing_may_go_is_refused_at_once(member: httpx2.Client, url: str) -> None:
    body = {"toolName": "calculator", "parameters": {"expression": "1"}, "callbackUrl": url}
    assert member.post("/v1/invocations", json=body).status_code == 400


def test_nobody_reads_stops_or_approves_the_run_of_another(edge: EdgeStack, member: httpx2.Client) -> None:
    made = call(member, "letters", count=3).json()["invocationId"]
    waiting = call(member, "announces", wait_s=0, text="x").json()["invocationId"]
    with edge.person(edge.key("member", "another")) as other:
        for path in (made, f"{made}/artifacts/page.html", waiting):
            assert other.get(f"/v1/invocations/{path}").status_code == 404
        assert other.delete(f"/v1/invocations/{waiting}").status_code == 404
        until(lambda: member.get("/v1/approvals").json())
        assert other.post(f"/v1/approvals/{waiting}", json={"approved": True}).status_code == 404
        assert other.get("/v1/approvals").json() == []
    assert member.delete(f"/v1/invocations/{waiting}").status_code == 202
    ended = until(lambda: _ended(member, waiting))
    assert ended["status"] == "cancelled"


@pytest.mark.parametrize("name", ["../page.html", "page.htm", "%00", "..%2f..%2fetc%2fpasswd"])
def test_an_artifact_is_found_by_its_name_alone(member: httpx2.Client, name: str) -> None:
    made = call(member, "letters", count=3).json()["invocationId"]
    assert member.get(f"/v1/invocations/{made}/artifacts/{name}").status_code == 404


# --- what comes back --------------------------------------------------------------------------------------


def test_a_large_output_is_read_back_whole(member: httpx2.Client) -> None:
    result = call(member, "letters", count=300_000).json()
    assert result["output"] == "a" * 300_000
    assert "output_blob" not in result and "outputBlob" not in result


def test_an_artifact_is_never_a_page_of_this_origin(member: httpx2.Client) -> None:
    (artifact,) = call(member, "letters", count=3).json()["artifacts"]
    answer = member.get(artifact["url"])
    assert answer.content == b"<script>alert(1)</script>"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")


def test_who_asked_confirms_what_costs_little(member: httpx2.Client) -> None:
    started = call(member, "keeps", wait_s=0, text="hello").json()["invocationId"]
    (waiting,) = until(lambda: member.get("/v1/approvals").json())
    assert (waiting["invocation_id"], waiting["self_approval"]) == (started, True)
    assert member.post(f"/v1/approvals/{started}", json={"approved": True}).status_code == 200
    result = until(lambda: _ended(member, started))
    assert (result["status"], result["output"]) == ("succeeded", "hello")
    assert member.post(f"/v1/approvals/{started}", json={"approved": True}).status_code == 409


def test_what_costs_more_needs_the_owner(owner: httpx2.Client, member: httpx2.Client) -> None:
    started = call(member, "announces", wait_s=0, text="hello").json()["invocationId"]
    until(lambda: member.get("/v1/approvals").json())
    assert member.post(f"/v1/approvals/{started}", json={"approved": True}).status_code == 403
    assert owner.post(f"/v1/approvals/{started}", json={"approved": True}).status_code == 200
    assert until(lambda: _ended(member, started))["status"] == "succeeded"


def test_problems_are_told_to_the_owner_alone(
    edge: EdgeStack, owner: httpx2.Client, member: httpx2.Client
) -> None:
    path = edge.running.home.functions / "broken.py"
    path.write_text("def broken(:\n")
    try:
        (problem,) = until(lambda: owner.get("/v1/tool-problems").json()["problems"])
        assert problem == f"{path}:1: SyntaxError: invalid syntax"
        assert member.get("/v1/tool-problems").json()["problems"] == []
    finally:
        path.unlink()


# --- killed in the middle ---------------------------------------------------------------------------------


def test_a_killed_worker_repeats_what_may_be_repeated_and_nothing_else(
    edge: EdgeStack, member: httpx2.Client, tmp_path: Path
) -> None:
    marks = {name: tmp_path / name for name in ("again", "once")}
    runs = {
        name: call(member, name, wait_s=0, marks=str(path), seconds=40).json()["invocationId"]
        for name, path in marks.items()
    }
    for path in marks.values():
        until(path.exists)
    edge.running.kill("worker")
    edge.running.wait_ready("worker")
    repeated = until(lambda: _ended(member, runs["again"]), within_s=40)
    assert (repeated["status"], repeated["output"]) == ("succeeded", 2)
    unknown = until(lambda: _ended(member, runs["once"]), within_s=40)
    assert (unknown["status"], unknown["error"]["code"]) == ("unknown", "interrupted")
    assert marks["once"].read_text() == "x"


def _ended(client: httpx2.Client, invocation_id: str) -> dict[str, Any] | None:
    found: dict[str, Any] = client.get(f"/v1/invocations/{invocation_id}").json()
    return found if found["endedAt"] else None
