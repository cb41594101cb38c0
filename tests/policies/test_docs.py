"""docs/policies.md says what is there: its questions, its examples."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from entrypoints.cli.main import main
from portico.contracts.policy import QUESTIONS

PAGE = Path(__file__).parents[2] / "docs" / "policies.md"


def _counted(output: str) -> str:
    return re.sub(r"^shipped: (\d+) of \1 passed$", "shipped: all passed", output, flags=re.MULTILINE)


def examples(package: str) -> list[str]:
    blocks = re.findall(r"```rego\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [block for block in blocks if block.startswith(f"package {package}")]


def test_every_question_is_documented() -> None:
    page = PAGE.read_text()
    for question in QUESTIONS:
        assert f"| `{question}` |" in page
        assert f"  - `{question}`: " in page


def test_the_pages_own_rule_and_its_test_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rule, test = examples("portico.user.tool")
    monkeypatch.setenv("PORTICO_HOME", str(tmp_path))
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "calculator.rego").write_text(rule)
    (tmp_path / "policies" / "calculator_test.rego").write_text(test)

    assert main(["policy", "test"]) == 0
    shown = re.search(r"\$ portico policy test\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert shown is not None
    # How many tests the shipped rules have is not what the page is about.
    assert _counted(capsys.readouterr().out) == _counted(shown.group(1))

    assert main(["policy", "eval", "tool", "--set", "action.tool=calculator"]) == 0
    assert capsys.readouterr().out.startswith("deny: the calculator is for the owner\n")
    night = ["--set", "action.effects=read", "--set", "context.now=2026-01-01T23:10:00Z"]
    assert main(["policy", "eval", "tool", *night]) == 0
    assert capsys.readouterr().out.startswith("ask: reading at night\n")


CLOUD = ("action.locality=cloud", "conversation.data_class=shareable")


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ((), "allow"),
        (("actor.role=customer",), "allow"),
        (CLOUD, "allow"),
        ((*CLOUD, "actor.role=customer"), "deny: customers never use the cloud"),
        ((*CLOUD, "context.cost_today=2.5"), "deny: 2 a day is enough for the cloud"),
        (("context.cost_today=2.5",), "allow"),
    ],
)
def test_the_pages_rules_about_models_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: tuple[str, ...],
    answer: str,
) -> None:
    (rule,) = examples("portico.user.model")
    monkeypatch.setenv("PORTICO_HOME", str(tmp_path))
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "models.rego").write_text(rule)
    wanted = [part for change in changes for part in ("--set", change)]
    assert main(["policy", "eval", "model", "--json", *wanted]) == 0
    told = json.loads(capsys.readouterr().out)["decision"]
    assert ": ".join([told["effect"], *(told["reasons"] if told["effect"] == "deny" else [])]) == answer
    if answer == "allow":
        shared = "conversation.data_class=shareable" in changes
        assert told["obligations"] == [{"kind": "prefer", "rank": 1 if shared else 10}]
