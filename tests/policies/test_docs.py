"""docs/policies.md says what is there: its questions, its examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from portico.cli.main import main
from portico.policy_input import QUESTIONS

PAGE = Path(__file__).parents[2] / "docs" / "policies.md"


def test_every_question_is_documented() -> None:
    page = PAGE.read_text()
    for question in QUESTIONS:
        assert f"| `{question}` |" in page
        assert f"  - `{question}`: " in page


def test_the_pages_own_rule_and_its_test_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rule, test = re.findall(r"```rego\n(.*?)```", PAGE.read_text(), re.DOTALL)
    monkeypatch.setenv("PORTICO_HOME", str(tmp_path))
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "calculator.rego").write_text(rule)
    (tmp_path / "policies" / "calculator_test.rego").write_text(test)

    assert main(["policy", "test"]) == 0
    shown = re.search(r"\$ portico policy test\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert shown is not None
    assert capsys.readouterr().out == shown.group(1)

    assert main(["policy", "eval", "tool", "--set", "action.tool=calculator"]) == 0
    assert capsys.readouterr().out.startswith("deny: the calculator is for the owner\n")
    night = ["--set", "action.effects=read", "--set", "context.now=2026-01-01T23:10:00Z"]
    assert main(["policy", "eval", "tool", *night]) == 0
    assert capsys.readouterr().out.startswith("ask: reading at night\n")
