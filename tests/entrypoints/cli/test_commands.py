"""Every command: help, wrong usage, nothing running, JSON; and that secrets are never printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from entrypoints.cli.commands import COMMANDS, GROUPS
from entrypoints.cli.main import main
from entrypoints.cli.output import print_table
from entrypoints.cli.root import load
from tests.support import CHECKOUT, RunningStack

pytestmark = pytest.mark.alone

SECRET = "a-value-that-nobody-may-read"


def all_commands() -> Iterator[tuple[str, ...]]:
    """Names of every command and of each in its group: ("keys", "create")."""
    for name in COMMANDS:
        command = typer.main.get_command(load(name))
        yield (name,)
        if isinstance(command, click.Group) or hasattr(command, "commands"):
            yield from ((name, inner) for inner in command.commands)


EVERY = tuple(all_commands())


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PORTICO_URL", "PORTICO_API_KEY", "PORTICO_MASTER_KEY", "PORTICO_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PORTICO_HOME", str(tmp_path))
    return tmp_path


Output = pytest.CaptureFixture[str]


@pytest.mark.parametrize("command", EVERY, ids=" ".join)
def test_has_help(command: tuple[str, ...], capsys: Output) -> None:
    assert main([*command, "--help"]) == 0
    told = capsys.readouterr()
    assert f"Usage: portico {' '.join(command)}" in told.out
    assert told.err == ""


@pytest.mark.parametrize("command", EVERY, ids=" ".join)
def test_wrong_usage_is_told_without_a_traceback(command: tuple[str, ...], capsys: Output) -> None:
    assert main([*command, "--no-such-option"]) == 2
    told = capsys.readouterr().err
    assert "--no-such-option" in told
    assert f"portico {' '.join(command)} --help" in told
    assert "Traceback" not in told


def test_an_unknown_command_is_told(capsys: Output) -> None:
    assert main(["nosuch"]) == 2
    assert capsys.readouterr().err == "portico: no command 'nosuch'; `portico --help` lists them\n"


def test_a_mistyped_command_is_answered_with_the_near_ones(capsys: Output) -> None:
    assert main(["sned", "hi"]) == 2
    assert "did you mean send?" in capsys.readouterr().err
    assert main(["channels", "lst"]) == 2
    assert "Did you mean 'list'?" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_says_its_version(option: str, capsys: Output) -> None:
    assert main([option]) == 0
    assert capsys.readouterr().out.startswith("portico 0.")


def test_every_command_is_in_one_group() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(COMMANDS)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_shown_for_each_shell(shell: str, capsys: Output) -> None:
    assert main(["--show-completion", shell]) == 0
    assert "_PORTICO_COMPLETE" in capsys.readouterr().out
    assert main(["--show-completion", "tcsh"]) == 1
    assert "bash, zsh, fish" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "words", "not_words"),
    [("portico mo", {"models"}, {"up"}), ("portico channels ", {"add", "list"}, {"models"})],
)
def test_the_shell_gets_names_of_commands_and_of_their_commands(
    line: str, words: set[str], not_words: set[str]
) -> None:
    done = subprocess.run(
        (sys.executable, "-m", "entrypoints.cli.main"),
        env=os.environ
        | {"_PORTICO_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))},
        capture_output=True,
        text=True,
        check=True,
        cwd=CHECKOUT,
    )
    given = set(done.stdout.split())
    assert words <= given and not (not_words & given)


def test_wide_characters_line_up(capsys: Output) -> None:
    print_table([("名字", "one"), ("name", "two")], empty="")
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["名字  one", "name  two"]


def test_a_terminal_gets_bold_names_and_no_color_none(tmp_path: Path) -> None:
    code = "from entrypoints.cli.output import print_table; print_table([('a', 'b')], empty='')"
    shown = {}
    for name, extra in (("color", {"TERM": "xterm"}), ("plain", {"TERM": "dumb"})):
        command = ("script", "-qec", f'{sys.executable} -c "{code}"', "/dev/null")
        done = subprocess.run(
            command, env={**os.environ, **extra}, capture_output=True, text=True, cwd=CHECKOUT, check=True
        )
        shown[name] = done.stdout
    assert "\x1b[1m" in shown["color"]
    assert "\x1b" not in shown["plain"]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_the_overview_names_every_command(arguments: list[str], capsys: Output) -> None:
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert all(f"  {name} " in told for name in COMMANDS)


# --- nothing runs ------------------------------------------------------------------------------------

NEED_THE_EDGE = (
    ["send", "hello"],
    ["open"],
    ["pair", "list"],
    ["pair", "approve", "ABCD2345"],
    ["dead-letters", "list"],
    ["dead-letters", "retry", "letter-1"],
    ["tools", "run", "time"],
)


@pytest.mark.parametrize("arguments", NEED_THE_EDGE, ids=" ".join)
def test_says_that_nothing_runs(arguments: list[str], home: Path, capsys: Output) -> None:
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert told == f"portico: no Portico runs in {home}; start it with `portico up`\n"


def test_status_without_a_stack_is_not_well(capsys: Output) -> None:
    assert main(["status"]) == 1
    assert "supervisor stopped" in capsys.readouterr().out
    assert main(["down"]) == 0
    assert main(["logs", "api"]) == 1
    assert main(["env"]) == 1
    assert "portico up" in capsys.readouterr().err


# --- JSON --------------------------------------------------------------------------------------------

TELLS_JSON = (
    ["status", "--json"],
    ["doctor", "--json"],
    ["channels", "list", "--json"],
    ["keys", "list", "--json"],
    ["secrets", "list", "--json"],
    ["tools", "list", "--json"],
    ["models", "list", "--json"],
)


@pytest.mark.parametrize("arguments", TELLS_JSON, ids=" ".join)
def test_prints_json_and_nothing_else(arguments: list[str], home: Path) -> None:
    """On a fresh home, with a variable that no setting knows: what is to be said of it is no answer."""
    json.loads(portico(home, *arguments, PORTICO_NO_SUCH="x").stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "--json"],
        ["env", "--json"],
        ["pair", "list", "--json"],
        ["dead-letters", "list", "--json"],
        ["send", "what time is it?", "--json"],
        ["tools", "run", "time", "place=Tokyo", "--json"],
    ],
    ids=" ".join,
)
def test_prints_json_of_a_running_stack(stack: RunningStack, arguments: list[str]) -> None:
    answer = stack.run(*arguments)
    json.loads(answer.stdout)
    assert answer.stderr == ""


def test_a_tool_that_is_not_there_is_told_with_the_nearest_names(stack: RunningStack) -> None:
    answer = stack.run("tools", "run", "calculater", "expression=1")
    assert answer.returncode == 1
    assert answer.stderr == "portico: the tool 'calculater' was not found; did you mean calculator?\n"


# --- secrets and keys --------------------------------------------------------------------------------


def portico(
    home: Path, *arguments: str, given: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "entrypoints.cli.main", *arguments),
        cwd=CHECKOUT,
        env={"PATH": "/usr/bin:/bin", "PORTICO_HOME": str(home), **variables},
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_stored_secret_is_never_printed_nor_readable(home: Path) -> None:
    answers = [
        portico(home, "secrets", "set", "bot", given=f"{SECRET}\n"),
        portico(home, "secrets", "list"),
        portico(home, "secrets", "list", "--json"),
    ]
    assert all(answer.returncode == 0 for answer in answers), answers
    assert json.loads(answers[2].stdout) == ["bot"]
    assert all(SECRET not in answer.stdout + answer.stderr for answer in answers)
    assert all(SECRET.encode() not in path.read_bytes() for path in home.rglob("*") if path.is_file())


def test_an_empty_secret_is_refused(home: Path) -> None:
    answer = portico(home, "secrets", "set", "bot", given="\n")
    assert answer.returncode == 2
    assert "empty" in answer.stderr


def test_a_key_is_printed_once_and_revoked(home: Path) -> None:
    made = portico(home, "keys", "create", "ci", "--role", "service")
    key = made.stdout.strip()
    assert key.startswith("pk_")
    listed = json.loads(portico(home, "keys", "list", "--json").stdout)
    assert [(one["name"], one["role"]) for one in listed] == [("ci", "service")]
    assert key not in json.dumps(listed)
    assert portico(home, "keys", "revoke", listed[0]["id"]).returncode == 0
    again = portico(home, "keys", "revoke", listed[0]["id"])
    assert (again.returncode, again.stderr) == (1, f"portico: the key {listed[0]['id']} was not found\n")
    assert portico(home, "keys", "create", "x", "--role", "king").returncode == 2
