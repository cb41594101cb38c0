"""`portico deploy versions` and `promote`: what they say where nothing can be promoted."""

from __future__ import annotations

import json

import pytest

from entrypoints.cli.main import main
from tests.support import RunningStack


@pytest.fixture
def home(inner_stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTICO_HOME", str(inner_stack.home.root))


@pytest.mark.parametrize(
    ("variables", "arguments", "expected"),
    [
        ({}, (), "name the version: --build-id X, or temporal.build_id in the settings"),
        ({}, ("--build-id", "b9", "--wait-workers", "0"), "no worker of version b9 polls portico;"),
        ({}, ("--build-id", "b9", "--unversioned"), "--build-id and --unversioned exclude each other"),
        (
            {"PORTICO_TEMPORAL__SPLIT": "true", "PORTICO_TEMPORAL__BUILD_ID": "7"},
            ("--wait-workers", "0"),
            "no worker of version 7 polls portico, portico-inference, portico-tools, portico-delivery;",
        ),
        (
            {"PORTICO_TEMPORAL__ADDRESS": "127.0.0.1:9"},
            ("--build-id", "b9"),
            "temporal is unavailable: nobody answers at 127.0.0.1:9",
        ),
        (
            {"PORTICO_TEMPORAL__BUILD_ID": "a b"},
            (),
            "PORTICO_TEMPORAL__BUILD_ID: temporal.build_id: String should match",
        ),
    ],
)
@pytest.mark.usefixtures("home")
def test_what_cannot_be_promoted_is_said_in_one_line(
    variables: dict[str, str],
    arguments: tuple[str, ...],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["deploy", "promote", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines()[-1].startswith(f"portico: {expected}")


@pytest.mark.usefixtures("home")
def test_an_installation_without_versions_lists_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", "versions", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["deployment"], found["current"], found["versions"]) == ("portico", None, [])
    assert main(["deploy", "versions"]) == 0
    assert "(none)   current" in capsys.readouterr().out
