"""`portico policy` as a person calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from entrypoints.cli.main import main

OWN = """package portico.user.tool

deny contains "the calculator is for the owner" if {
	input.action.tool == "calculator"
	input.actor.role != "owner"
}
"""
OWN_TEST = """package portico.user.tool_test

import data.portico.user.tool

asked(role) := {"actor": {"role": role}, "action": {"tool": "calculator"}}

test_a_member_is_denied if count(tool.deny) == 1 with input as asked("member")

test_the_owner_is_denied if count(tool.deny) == 1 with input as asked("owner")
"""


@pytest.fixture
def policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PORTICO_HOME", str(tmp_path))
    (tmp_path / "policies").mkdir()
    return tmp_path / "policies"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["eval", "nonsense"], "inbound, model, egress, tool"),
        (["eval", "tool", "--set", "actor.rol=guest"], "actor.role"),
        (["eval", "tool", "--set", "actor"], "PATH=VALUE"),
        (["eval", "tool", "--input", "/nowhere.json"], "/nowhere.json"),
    ],
)
def test_tells_what_it_cannot_use(
    policies: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", *arguments]) == 1
    problem = capsys.readouterr().err
    assert told in problem
    assert len(problem.splitlines()) == 1


def test_a_broken_rule_is_told_by_its_line(policies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (policies / "mine.rego").write_text("package portico.user.tool\n\ndeny contains if {\n")
    for command in (["eval", "tool"], ["test"]):
        assert main(["policy", *command]) == 1
        assert f"{policies}/mine.rego:3: " in capsys.readouterr().err


def test_eval_decides_by_the_rules_on_disk(policies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["policy", "eval", "tool", "--set", "action.tool=calculator", "--json"]
    assert main(arguments) == 0
    before = json.loads(capsys.readouterr().out)["decision"]
    (policies / "mine.rego").write_text(OWN)
    assert main(arguments) == 0
    after = json.loads(capsys.readouterr().out)["decision"]
    assert (before["effect"], after["effect"]) == ("allow", "deny")
    assert after["reasons"] == ["the calculator is for the owner"]
    assert before["revision"] != after["revision"]


def test_eval_takes_a_whole_input(policies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = tmp_path / "input.json"
    asked.write_text('{"actor": {"role": "owner"}}')
    assert main(["policy", "eval", "tool", "--input", str(asked)]) == 0
    assert capsys.readouterr().out.startswith("deny: no rule allowed it\n")


def test_test_runs_the_shipped_and_the_own_tests(policies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (policies / "mine.rego").write_text(OWN)
    assert main(["policy", "test"]) == 0
    assert "own: no tests" in capsys.readouterr().out
    (policies / "mine_test.rego").write_text(OWN_TEST)
    assert main(["policy", "test"]) == 1
    told = capsys.readouterr().out
    assert "own: 1 of 2 passed" in told
    assert f"{policies}/mine_test.rego:9: test_the_owner_is_denied" in told
    (policies / "mine_test.rego").write_text(
        OWN_TEST.replace('== 1 with input as asked("owner")', '== 0 with input as asked("owner")')
    )
    assert main(["policy", "test"]) == 0
