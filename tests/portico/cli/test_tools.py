from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from activities.tools import TOOLS
from portico.cli import main as cli
from portico.cli.tools import read_parameters


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PORTICO_HOME", str(tmp_path))
    return tmp_path


def test_every_tool_is_listed_with_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tools", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in listed] == [spec.name for spec in TOOLS]
    assert all(each["parameters"]["type"] == "object" for each in listed)


def test_the_table_names_parameters_and_effects(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tools", "list"]) == 0
    assert "calculator(expression)" in capsys.readouterr().out


def test_without_a_gateway_one_line_says_how_to_start_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tools", "run", "calculator", "expression=17*23"]) == 1
    assert "portico up" in capsys.readouterr().err


@pytest.mark.parametrize("item", ["17*23", "=5"])
def test_a_parameter_has_a_name(item: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tools", "run", "calculator", item]) == 1
    assert "NAME=VALUE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("calculator", ["expression=5"], {"expression": "5"}),
        ("calculator", ["expression=a=b"], {"expression": "a=b"}),
        (
            "mine",
            ["count=5", "on=true", 'list=["a"]', "word=hello"],
            {"count": 5, "on": True, "list": ["a"], "word": "hello"},
        ),
        ("time", [], {}),
    ],
)
def test_values_are_text_where_the_tool_wants_text(
    name: str, given: list[str], expected: dict[str, Any]
) -> None:
    assert read_parameters(name, given) == expected
