"""The whole stack as a person meets it."""

from __future__ import annotations

import http.client
import os
import re
from pathlib import Path

import pytest

from operations.embedded.announce import program_name, ssh_line
from operations.embedded.selfcheck import QUESTION
from tests.conftest import MakeStack
from tests.support import RunningStack

pytestmark = pytest.mark.alone


def logs_in(address: str, path: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status in (302, 303) and "set-cookie" in answer.headers
    finally:
        connection.close()


def test_start_ends_with_an_answer_and_where_to_go_on(make_stack: MakeStack) -> None:
    stack = make_stack(start=False)
    stack.start(prove=True)
    told = stack.output
    assert re.search(rf'check     "{re.escape(QUESTION)}" → ".*391.*" in \d+ ms', told), told
    for step in ("normalize", "authorize_inbound", "understand", "deliver"):
        assert re.search(rf"\b{step} \d+ ms", told)
    login = re.search(rf"chat      ({re.escape(stack.url)}/login\?token=\S+)", told)
    assert login, told
    assert logs_in(stack.address("api"), login[1].removeprefix(stack.url))
    assert f"history   {stack.url}/temporal/" in told


def test_every_part_is_ready_and_status_says_so(stack: RunningStack) -> None:
    status = stack.run("status")
    assert status.returncode == 0, status.stdout
    assert status.stdout.count(" ready ") == 6


def test_env_gives_what_scripts_need(stack: RunningStack) -> None:
    told = stack.run("env").stdout
    for name in ("PORTICO_URL", "PORTICO_API_KEY", "TEMPORAL_ADDRESS", "OPA_URL", "TRITON_URL"):
        assert f"export {name}=" in told


def test_doctor_finds_a_running_stack_well(stack: RunningStack) -> None:
    told = stack.run("doctor")
    assert told.returncode == 0, told.stdout
    assert "BAD" not in told.stdout


def test_doctor_names_what_mends_a_broken_settings_file(make_stack: MakeStack) -> None:
    stack = make_stack(settings="no_such_key = 1\n", start=False)
    told = stack.run("doctor")
    assert told.returncode == 1
    assert "no_such_key" in told.stdout
    refused = stack.run("up")
    assert refused.returncode == 1
    assert "no_such_key" in refused.stderr


def test_tells_the_tunnel_to_who_came_by_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    assert ssh_line(8080) == ""
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.7 50000 192.0.2.1 22")
    assert re.fullmatch(r"ssh -L 8080:127\.0\.0\.1:8080 \S+@192\.0\.2\.1", ssh_line(8080))


def test_names_the_program_as_it_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "portico"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert program_name() != "portico"
    assert Path(program_name()).name == "portico"


def test_every_part_comes_back_after_a_kill(make_stack: MakeStack) -> None:
    stack = make_stack()
    for part in ("temporal", "opa", "s3", "triton", "worker", "api"):
        stack.kill(part)
        stack.wait_ready(part)
    answer = stack.run("send", "what is 6 * 7?")
    assert answer.returncode == 0, answer.stderr
    assert "42" in answer.stdout
