"""G6: scripts run isolated or not at all. The sandbox is killed, stopped, broken and switched off under them."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from operations.setup.binaries import CHECKOUT, RUNSC
from portico.settings.connections import sandbox_address
from tests.support import RunningStack, until

pytestmark = pytest.mark.alone

START_S = 90
OURS = ("entrypoints", "operations", "portico", "api", "activities", "workflows", "channels", "console")
RUNS_CODE = {
    "eval",
    "exec",
    "compile",
    "execfile",
    "__import__",
    "system",
    "popen",
    "getoutput",
    "literal_eval",
}
ALLOWED = {
    ("portico/tools/functions/modules.py", "exec"),
    ("portico/tools/functions/modules.py", "compile"),
    ("entrypoints/cli/root.py", "shell"),  # the name of the shell that completion is for
}
"""What the machine's owner installs as functions is loaded in a process of its own; nobody else writes there."""

needs_runsc = pytest.mark.skipif(
    not RUNSC.path.exists(), reason="runsc is not built: `operations/setup/run.sh sandbox` builds it"
)


def call(stack: RunningStack, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    key = stack.home.cli_key.read_text().strip()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(stack.url + path, data=data, headers=headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=90) as answer:
        return json.load(answer)


def run(stack: RunningStack, code: str, **parameters: Any) -> dict[str, Any]:
    invocation = {"toolName": "script", "parameters": {"code": code, **parameters}}
    done: dict[str, Any] = call(stack, "POST", "/v1/invocations?wait_s=60", invocation)
    return done


def listed(stack: RunningStack) -> str:
    """Why the tool cannot run, as everybody sees it."""
    tools = call(stack, "GET", "/v1/tools")
    found = next(one for one in tools if one["name"] == "script")
    return str(found.get("unavailable") or "")


def unavailable(stack: RunningStack) -> str:
    return sandbox_address(stack.settings, stack.home).unavailable


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    running = RunningStack(tmp_path_factory.mktemp("g6"), sandbox=True)
    try:
        running.start()
        until(lambda: not unavailable(running), timeout_s=START_S)
        until(lambda: not listed(running), timeout_s=20)
        yield running
    finally:
        running.stop()


@needs_runsc
def test_code_runs_in_a_kernel_of_its_own_and_never_beside_the_gateway(
    stack: RunningStack, tmp_path: Path
) -> None:
    proof = tmp_path / "ran"
    code = f"""
import os, pathlib, platform
try:
    pathlib.Path({str(proof)!r}).write_text('ran')
except OSError:
    pass
print(os.getuid(), platform.release(), os.path.exists({str(stack.home.root)!r}), sorted(
    name for name in os.environ if name.startswith(('PORTICO', 'E2B_API'))))
"""
    done = run(stack, code)
    assert done["status"] == "succeeded", done
    uid, kernel, sees_home, variables = done["output"]["stdout"].split(maxsplit=3)
    assert (uid, sees_home, variables.strip()) == ("1000", "False", "[]")
    assert kernel != os.uname().release
    assert not proof.exists()


@needs_runsc
def test_the_unmodified_sdk_works_with_what_env_prints(stack: RunningStack) -> None:
    exports = json.loads(stack.run("env", "--json").stdout)
    given = {name: value for name, value in exports.items() if name.startswith("E2B_")}
    assert set(given) == {"E2B_API_URL", "E2B_SANDBOX_URL", "E2B_API_KEY"}
    code = "from e2b_code_interpreter import Sandbox; print(Sandbox.create().run_code('6 * 7').text)"
    done = subprocess.run(
        (sys.executable, "-W", "ignore", "-c", code),
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "42", done.stderr


@needs_runsc
def test_a_cell_whose_sandbox_is_killed_is_interrupted_and_the_next_one_works(stack: RunningStack) -> None:
    code = "import time\nprint('begun', flush=True)\ntime.sleep(60)"
    asked = {"toolName": "script", "parameters": {"code": code}}
    before = _sandboxes(stack)
    begun = call(stack, "POST", "/v1/invocations", asked)
    until(lambda: _sandboxes(stack) > before, timeout_s=30)
    time.sleep(8)  # it is listed before its maker is told of it, and the cell begins after that
    stack.kill("sandbox", signal.SIGKILL)
    ended: dict[str, Any] = {}

    def is_over() -> bool:
        ended.update(call(stack, "GET", f"/v1/invocations/{begun['invocationId']}"))
        return ended["status"] != "running"

    until(is_over, timeout_s=60)
    error = ended["error"] or {}
    assert (ended["status"], error.get("code")) == ("interrupted", "interrupted"), (error, ended["output"])
    stack.wait_ready("sandbox")
    until(lambda: not listed(stack), timeout_s=20)
    assert run(stack, "6 * 7")["output"]["results"] == ["42"]


def _sandboxes(stack: RunningStack) -> int:
    door = sandbox_address(stack.settings, stack.home)
    request = urllib.request.Request(f"{door.url}/v2/sandboxes", headers={"x-api-key": door.key})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        return len(json.load(answer))


@needs_runsc
def test_where_nothing_can_be_set_apart_no_code_runs_and_everybody_is_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, proof = tmp_path / "bin", tmp_path / "ran"
    broken.mkdir()
    (broken / "unshare").write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n")
    (broken / "unshare").chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken}{os.pathsep}{os.environ['PATH']}")
    stack = RunningStack(tmp_path / "home", sandbox=True)
    try:
        stack.start(prove=True)
        assert "391" in stack.output  # the rest answers as ever
        until(lambda: "no sandbox can be set apart here" in unavailable(stack), timeout_s=START_S)
        until(lambda: "no sandbox can be set apart here" in listed(stack), timeout_s=20)
        done = run(stack, f"open({str(proof)!r}, 'w').close()")
        assert (done["status"], done["error"]["code"]) == ("failed", "unavailable")
        assert "no sandbox can be set apart here" in done["error"]["message"]
        for language in ("bash", "javascript", "typescript"):
            done = run(stack, f"require('fs').writeFileSync('{proof}', ''); touch {proof}", language=language)
            assert done["error"]["code"] == "unavailable"
        assert not proof.exists()
        assert "no sandbox can be set apart here" in stack.run("status").stdout
        assert stack.run("status").returncode == 0
    finally:
        stack.stop()


def test_nothing_of_the_gateway_runs_what_it_is_given() -> None:
    """No `eval`, no shell, no code object made from text, in anything that handles messages and parameters."""
    found = set()
    for room in OURS:
        for path in (CHECKOUT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    found |= {(str(path.relative_to(CHECKOUT)), name) for name in _runs_code(node)}
    assert found - ALLOWED == set()
    assert found >= ALLOWED  # the look finds what is there


def _runs_code(node: ast.Call) -> set[str]:
    function = node.func
    owner = getattr(getattr(function, "value", None), "id", "")
    name = getattr(function, "id", None) or getattr(function, "attr", "")
    names = (
        {name} & RUNS_CODE
        if isinstance(function, ast.Name) or owner in ("os", "subprocess", "builtins")
        else set()
    )
    with_shell = any(
        keyword.arg == "shell"
        and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
        for keyword in node.keywords
    )
    return (
        names
        | ({"shell"} if with_shell else set())
        | ({name} if name == "create_subprocess_shell" else set())
    )
