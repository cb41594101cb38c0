"""The examples of docs/calling-tools.md, run as they stand against a stack."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from grpc_tools import protoc

from portico.contracts.messages import ExecutionResult, ExecutionStatus
from portico.settings.settings import Settings
from portico.tools.callbacks import callback_body, callback_headers
from tests.api.tools.support import Doors
from tests.fakes.hook import SECRET

CHECKOUT = Path(__file__).parents[3]
PAGE = (CHECKOUT / "docs" / "calling-tools.md").read_text()
SHOWN = re.findall(r"```python\n((?:(?!```).)*)```\n```text\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def shell(doors: Doors) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTICO_")}
    return {**kept, "PORTICO_URL": doors.url, "PORTICO_API_KEY": doors.key("member")}


def run(
    command: list[str], shell: dict[str, str], *, folder: Path = CHECKOUT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=shell, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_page_has_examples() -> None:
    assert len(SHOWN) == 3


@pytest.mark.parametrize(("code", "printed"), SHOWN, ids=["rest", "grpc", "mcp"])
def test_an_example_prints_what_is_shown(
    doors: Doors, shell: dict[str, str], tmp_path: Path, code: str, printed: str
) -> None:
    command = re.search(r"^ {4}python -m grpc_tools\.protoc (.*)$", PAGE, re.MULTILINE)
    assert command is not None
    options = [one.replace("-I", "").replace("_out=.", f"_out={tmp_path}") for one in command[1].split()]
    known = str(files("grpc_tools") / "_proto")
    include = [f"-I{CHECKOUT / 'api/protos/portico/v1'}", f"-I{known}"]
    assert (
        protoc.main(["protoc", *include, *(one for one in options if one.startswith("--")), options[-1]]) == 0
    )
    (tmp_path / "example.py").write_text(code.replace("127.0.0.1:8081", doors.running.address("api-grpc")))
    ran = run([sys.executable, "example.py"], shell, folder=tmp_path)
    assert ran.stdout == printed, ran.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="this machine has no curl")
def test_the_line_for_curl_works(shell: dict[str, str]) -> None:
    line = re.search(r"^\$ (curl .*)$", PAGE, re.MULTILINE)
    assert line is not None
    ran = run(["sh", "-c", line[1]], shell)
    assert '"status":"succeeded"' in ran.stdout, ran.stderr


def test_the_receiver_of_callbacks_believes_what_is_signed_alone() -> None:
    found = re.search(r"```python\n(from standardwebhooks.*?)```", PAGE, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)
    now = datetime.now(UTC)
    result = ExecutionResult(
        invocation_id="tool-1", tool_name="x", status=ExecutionStatus.SUCCEEDED, started_at=now, ended_at=now
    )
    body = callback_body(result)
    headers = callback_headers(SECRET, webhook_id="tool-1", body=body)
    assert names["received"](SECRET, body, headers) == ("tool-1", "succeeded")
    other = callback_headers("whsec_b3RoZXI=", webhook_id="tool-1", body=body)
    with pytest.raises(Exception, match="signature"):
        names["received"](SECRET, body, other)


def test_the_settings_that_are_shown_are_settings() -> None:
    for block in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL):
        Settings.model_validate(tomllib.loads(block))
