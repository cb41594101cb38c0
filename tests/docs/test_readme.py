"""What the documents say is there: files, headings, commands, options, settings, examples, tests of guarantees."""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer

from entrypoints.cli.commands import COMMANDS
from portico.settings.settings import Settings
from portico.tool import spec_of
from triton_models.intents import read_intent

CHECKOUT = Path(__file__).parents[2]
TOP = ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")
PAGES = sorted([*(CHECKOUT / name for name in TOP), *(CHECKOUT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
OPTION = re.compile(r"--?[a-z][a-z-]*")
GUARANTEES = [f"G{number}" for number in range(1, 11)]


def name_of(page: Path) -> str:
    return str(page.relative_to(CHECKOUT))


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The headings as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def shown_commands(page: Path) -> Iterator[str]:
    """Every command line that somebody may type: in a block, after a prompt, or in backquotes."""
    lines = [line[4:] for line in prose(page).splitlines() if line.startswith("    ")]
    for language, block in FENCE.findall(page.read_text()):
        if language in ("console", "sh"):
            lines += [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    lines += INLINE.findall(prose(page))
    for shown in lines:
        for part in re.split(r"&&|\||;", shown.partition("  #")[0]):
            if line := part.strip().removeprefix('eval "$(').removesuffix(')"'):
                yield line


@cache
def command(name: str) -> Any:
    module, _, attribute = COMMANDS[name][0].partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if isinstance(found, typer.Typer):
        return typer.main.get_command(found)
    app = typer.Typer()
    app.command()(found)
    return typer.main.get_command(app)


def problem_of(words: list[str]) -> str:
    """What is wrong with `portico WORDS`; nothing where it could be run."""
    if not words or words[0].startswith("-") or not words[0].islower():
        return ""  # `portico --help`, `portico COMMAND`
    if words[0] not in COMMANDS:
        return f"no command {words[0]}"
    found, rest = command(words[0]), words[1:]
    subcommands = getattr(found, "commands", {})
    if subcommands and rest and rest[0].islower() and not rest[0].startswith("-"):
        if rest[0] not in subcommands:
            return f"{words[0]} has no {rest[0]}"
        found, rest = subcommands[rest[0]], rest[1:]
    known = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in rest if OPTION.fullmatch(word) and word not in known | {"--help"}]
    return f"no option {unknown[0]}" if unknown else ""


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(prose(page)):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / unquote(path)).resolve() if path else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_exists(page: Path) -> None:
    problems = {}
    for line in shown_commands(page):
        program, *words = line.split()
        if Path(program).name == "portico" and (problem := problem_of(words)):
            problems[line] = problem
    assert not problems


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("sned hello", "no command sned"),
        ("pair aprove CODE", "pair has no aprove"),
        ("up --detatch", "no option --detatch"),
        ("dead-letters retry ID", ""),
        ("up --detach --port 9000", ""),
    ],
)
def test_a_wrong_command_would_be_noticed(line: str, problem: str) -> None:
    assert problem_of(line.split()) == problem


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    used = {
        words[1]
        for words in map(str.split, shown_commands(page))
        if len(words) > 1 and words[0] == "make" and words[1].islower()
    }
    assert used <= targets


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_that_is_named_exists(page: Path) -> None:
    rooms = {path.name for path in CHECKOUT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    named = {text for text in INLINE.findall(prose(page)) if re.fullmatch(r"[\w.]+(/[\w.-]+)+/?", text)}
    ours = {text for text in named if text.split("/")[0] in rooms}
    made_by_the_reader = {"activities/functions/dice.py"}
    assert not {text for text in ours if not (CHECKOUT / text).exists()} - made_by_the_reader


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_settings_example_is_accepted(page: Path) -> None:
    for language, block in FENCE.findall(page.read_text()):
        if language == "toml":
            Settings.model_validate(tomllib.loads(block))


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    waiting = [CHECKOUT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page in PAGES:
            reached.add(page)
            targets = [target.partition("#")[0] for target in LINK.findall(prose(page))]
            waiting += [(page.parent / target).resolve() for target in targets if target]
    assert not [name_of(page) for page in PAGES if page not in reached]


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_every_guarantee_names_its_test_or_says_not_yet(guarantee: str) -> None:
    rows = re.findall(
        rf"^\| \[?{guarantee}\b.*\| (.+) \|$", (CHECKOUT / "README.md").read_text(), re.MULTILINE
    )
    assert len(rows) == 1
    tests = [CHECKOUT / path for path in LINK.findall(rows[0]) if path.startswith("tests/")]
    assert all(path.name.startswith("test_") and path.exists() for path in tests)
    assert tests or rows[0].startswith("not yet")

    tried_by_itself = list((CHECKOUT / "tests" / "guarantees").glob(f"test_{guarantee.lower()}_*.py"))
    assert not (tried_by_itself and rows[0].startswith("not yet"))


def test_the_intent_of_the_page_can_be_read(tmp_path: Path) -> None:
    examples = [
        block
        for language, block in FENCE.findall((CHECKOUT / "docs" / "intents.md").read_text())
        if language == "yaml"
    ]
    actions = {}
    for number, example in enumerate(examples):
        path = tmp_path / f"{number}.yaml"
        path.write_text(example)
        actions[read_intent(path).name] = read_intent(path).action
    assert actions["opening_hours"]["reply"]["en"]
    assert actions["time_at"]["tool"] == "time"


def test_the_tool_of_the_page_can_be_declared_and_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source,) = [
        block
        for language, block in FENCE.findall((CHECKOUT / "docs" / "tools.md").read_text())
        if language == "python"
    ]
    (tmp_path / "dice_of_the_page.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    dice = importlib.import_module("dice_of_the_page").dice
    sys.modules.pop("dice_of_the_page")
    spec = spec_of(dice)
    assert (spec.name, set(spec.parameters["properties"])) == ("dice", {"sides", "count"})  # type: ignore[arg-type]
    assert len(dice(sides=20, count=3).split(", ")) == 3
