"""`portico models pull`, `list`, `use`, `load`, `unload` and `remove` while Portico is stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from entrypoints.cli import main as cli
from portico.settings.home import Home
from portico.settings.load import load_settings

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("PORTICO_HOME", str(tmp_path))
    monkeypatch.setenv("PORTICO_MODELS__PORTS", "1")
    return Home(tmp_path)


def listed(capsys: Capture) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert cli.main(["models", "list", "--json"]) == 0
    told: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return told


def test_answers_go_to_stdout_and_progress_to_stderr(home: Home, tiny_model: Path, capsys: Capture) -> None:
    assert cli.main(["models", "pull", str(tiny_model), "--json"]) == 0
    shown = capsys.readouterr()

    told = json.loads(shown.out)
    assert (told["name"], told["fetched"]) == ("tiny", True)
    assert told["needs_mib"] > 200
    assert "100 %" in shown.err and str(tiny_model) in shown.err


def test_a_model_that_lies_here_is_listed_with_size_and_memory(
    home: Home, tiny_model: Path, capsys: Capture
) -> None:
    cli.main(["models", "pull", str(tiny_model), "--name", "mine"])
    (model,) = [each for each in listed(capsys) if each["name"] == "mine"]

    assert model["state"] == "unknown"  # Triton is stopped
    assert model["locality"] == "local"
    assert model["size_bytes"] == sum(path.stat().st_size for path in tiny_model.iterdir())
    cli.main(["models", "list"])
    assert f"needs {model['memory_mib']} MiB of" in capsys.readouterr().out


def test_a_model_that_lies_here_becomes_the_first_route(home: Home, tiny_model: Path) -> None:
    cli.main(["models", "pull", str(tiny_model), "--name", "mine-0.5b"])
    assert cli.main(["models", "use", "mine-0.5b"]) == 0

    (route,) = load_settings(home).llm.routes.values()
    assert (route.kind, route.model, route.locality) == ("triton", "mine-0.5b", "local")


def test_loading_needs_a_running_triton(home: Home, tiny_model: Path, capsys: Capture) -> None:
    cli.main(["models", "pull", str(tiny_model)])
    assert cli.main(["models", "load", "tiny"]) == 1
    assert "start Portico with `portico up`" in capsys.readouterr().err
    assert cli.main(["models", "unload", "tiny"]) == 0
    assert "was not loaded" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["load", "remove"])
def test_a_model_that_is_not_here_is_said(home: Home, capsys: Capture, command: str) -> None:
    assert cli.main(["models", command, "missing"]) == 1
    assert "language model missing (here: none) was not found" in capsys.readouterr().err


def test_a_removed_model_is_gone(home: Home, tiny_model: Path, capsys: Capture) -> None:
    cli.main(["models", "pull", str(tiny_model)])
    assert cli.main(["models", "remove", "tiny"]) == 0

    assert not (home.language_models / "tiny").exists()
    assert not [each for each in listed(capsys) if each["name"] == "tiny"]
