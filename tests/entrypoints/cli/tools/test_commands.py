from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from entrypoints.cli import main as cli
from entrypoints.cli.tools.commands import read_parameters

FILES = '''
from portico.tool import ToolContext, tool

@tool(effects="none", risk="low", secrets=["word"])
def shout(context: ToolContext, text: str, times: int = 1) -> dict[str, str]:
    """Say it loudly."""
    context.progress("shouting")
    context.artifact("shout.txt", text.upper().encode())
    return {"text": text.upper() * times + context.secret("word")}
'''


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PORTICO_HOME", str(tmp_path))
    monkeypatch.setattr("entrypoints.serve.tool_sources.SHIPPED", tmp_path / "nothing-shipped")
    return tmp_path


@pytest.fixture
def functions(home: Path) -> Path:
    folder = home / "functions"
    folder.mkdir()
    (folder / "shout.py").write_text(FILES)
    return folder


def test_every_tool_is_listed_with_its_schema(functions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tools", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["name"] == "shout"
    assert listed["parameters"]["required"] == ["text"]


def test_the_table_names_parameters_and_effects(functions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tools", "list"]) == 0
    assert "shout(text, times)  none     low   Say it loudly." in capsys.readouterr().out


def test_files_that_are_broken_are_listed_with_their_line(
    functions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (functions / "broken.py").write_text("x = (\n")
    assert cli.main(["tools", "list"]) == 0
    assert "broken.py:1: SyntaxError" in capsys.readouterr().err


def test_further_folders_are_looked_into(
    functions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (more / "whisper.py").write_text(FILES.replace("shout(", "whisper("))
    monkeypatch.setenv("PORTICO_FUNCTIONS", f"{tmp_path / 'not-there'}:{more}")
    assert cli.main(["tools", "list", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["shout", "whisper"]


def test_a_tool_runs_here_without_a_gateway(
    functions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "shout",
        "text=hey",
        "times=2",
        "--local",
        "--secret",
        "word=!!",
        "--save",
        str(tmp_path / "saved"),
    ]
    assert cli.main(["tools", "run", *words]) == 0
    said = capsys.readouterr()
    assert said.out == "HEYHEY!!\n"
    assert "shouting" in said.err
    assert (tmp_path / "saved" / "shout.txt").read_text() == "HEY"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["shout", "text=hey"], "the secret 'word' is not there"),
        (["shout"], "text: is missing"),
        (["shout", "text=hey", "times=many"], "times:"),
        (["whisper"], "the tool 'whisper' was not found"),
    ],
)
def test_what_is_wrong_here_is_one_line(
    functions: Path, words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["tools", "run", *words, "--local"]) == 1
    assert expected in capsys.readouterr().err


def test_a_new_tool_passes_its_own_test_and_runs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tools", "new", "echo_words"]) == 0
    folder = home / "functions"
    written = runpy.run_path(str(folder / "test_echo_words.py"))
    tests = [value for name, value in written.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()
    capsys.readouterr()
    assert cli.main(["tools", "run", "echo_words", "text=hello", "times=2", "--local"]) == 0
    assert capsys.readouterr().out == "hello hello\n"


def test_nothing_is_written_over(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tools", "new", "mine", "--to", str(home / "here")]) == 0
    assert "PORTICO_FUNCTIONS=" in capsys.readouterr().out
    assert cli.main(["tools", "new", "mine", "--to", str(home / "here")]) == 1
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["Mine", "../mine", "test_mine", "2nd", "x" * 65])
def test_a_name_that_cannot_be_one_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tools", "new", name]) == 1
    assert "cannot name a tool" in capsys.readouterr().err


def test_without_a_gateway_one_line_says_how_to_start_it(
    functions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["tools", "run", "shout", "text=hey"]) == 1
    assert "portico up" in capsys.readouterr().err


@pytest.mark.parametrize("item", ["17*23", "=5"])
def test_a_parameter_has_a_name(functions: Path, item: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tools", "run", "shout", item, "--local"]) == 1
    assert "NAME=VALUE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("schema", "given", "expected"),
    [
        ({"properties": {"expression": {"type": "string"}}}, ["expression=5"], {"expression": "5"}),
        ({"properties": {"expression": {"type": "string"}}}, ["expression=a=b"], {"expression": "a=b"}),
        (
            None,
            ["count=5", "on=true", 'list=["a"]', "word=hello"],
            {"count": 5, "on": True, "list": ["a"], "word": "hello"},
        ),
        ({"properties": {}}, [], {}),
    ],
)
def test_values_are_text_where_the_tool_wants_text(
    schema: Any, given: list[str], expected: dict[str, Any]
) -> None:
    assert read_parameters(schema, given) == expected
