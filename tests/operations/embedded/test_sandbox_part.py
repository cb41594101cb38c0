"""The sandbox beside a running stack: never in its way, back when it was killed, and said where it cannot be."""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path

import pytest
from e2b_code_interpreter import Sandbox

from operations.embedded.sandbox import reason
from operations.setup.binaries import RUNSC
from portico.settings.connections import sandbox_address
from tests.conftest import MakeStack
from tests.support import RunningStack, until

pytestmark = pytest.mark.alone

ONE_PART = ("opa", "sandbox")
"""What is tried here is the sandbox; OPA stands for the stack that it belongs to."""
START_S = 90


def unavailable(stack: RunningStack) -> str:
    return sandbox_address(stack.settings, stack.home).unavailable


def needs_runsc() -> None:
    if not RUNSC.path.exists():
        pytest.skip(
            "runsc is not built: `operations/setup/run.sh sandbox` builds it from infra/binaries/runsc"
        )


def row(stack: RunningStack, part: str) -> dict[str, object]:
    parts = json.loads(stack.run("status", "--json").stdout)["parts"]
    return next(one for one in parts if one["part"] == part)


def metrics_of(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/metrics", timeout=10) as answer:
        content: str = answer.read().decode()
        return content


def test_runs_code_by_what_env_prints_and_comes_back_after_a_kill(make_stack: MakeStack) -> None:
    needs_runsc()
    stack = make_stack(only=ONE_PART, sandbox=True, settings="[log]\njson_lines = true\n")
    until(lambda: not unavailable(stack), timeout_s=START_S)
    door = sandbox_address(stack.settings, stack.home)
    options = {"api_url": door.url, "sandbox_url": door.url, "api_key": door.key}
    with Sandbox.create(**options) as sandbox:
        assert sandbox.run_code("6 * 7").text == "42"
        assert 'portico_sandboxes{state="running"} 1\n' in metrics_of(door.url)
        stack.kill("sandbox")
        until(lambda: bool(unavailable(stack)), timeout_s=10)
        stack.wait_ready("sandbox")
        until(lambda: not unavailable(stack), timeout_s=30)
    with Sandbox.create(**options) as sandbox:
        assert sandbox.run_code("6 * 7").text == "42"
    assert row(stack, "sandbox")["state"] == "ready"
    lines = (stack.home.logs / "sandbox.log").read_text().splitlines()
    assert all(json.loads(line)["event"] for line in lines if line)


def test_says_why_no_code_can_run_and_does_not_keep_the_rest_waiting(
    make_stack: MakeStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_runsc()
    broken = tmp_path / "bin"
    broken.mkdir()
    (broken / "unshare").write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n")
    (broken / "unshare").chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken}{os.pathsep}{os.environ['PATH']}")
    stack = make_stack(only=ONE_PART, sandbox=True)
    until(lambda: "no sandbox can be set apart here" in unavailable(stack), timeout_s=START_S)
    assert "Operation not permitted" in unavailable(stack)
    found = row(stack, "sandbox")
    assert found["state"] == "unavailable"
    assert "no sandbox can be set apart here" in str(found["reason"])
    assert not found["needed"]


def test_is_off_where_a_person_wants_none(make_stack: MakeStack) -> None:
    stack = make_stack(only=ONE_PART)
    assert "switched off" in unavailable(stack)
    assert row(stack, "sandbox")["state"] == "off"
    assert "sandbox" not in stack.parts()


def test_one_that_runs_elsewhere_is_taken_as_it_is(make_stack: MakeStack) -> None:
    elsewhere = 'sandbox.url = "http://192.0.2.1:9999"\nsandbox.key = "e2b_elsewhere"\n'
    stack = make_stack(only=ONE_PART, settings=elsewhere, sandbox=True)
    door = sandbox_address(stack.settings, stack.home)
    assert (door.url, door.key, door.unavailable) == ("http://192.0.2.1:9999", "e2b_elsewhere", "")
    assert row(stack, "sandbox")["state"] == "external"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["12:00 sandbox i1 ends", "sandbox: no way.", "  Do this."], "no way. Do this."),
        (["sandbox: an old one", "set-up    go build failed:", "    line"], "go build failed: line"),
        (["Traceback", "OSError: full"], "OSError: full"),
        ([], "it ended without a word"),
    ],
)
def test_the_reason_is_what_was_said_last(words: list[str], told: str) -> None:
    assert reason(words) == told
