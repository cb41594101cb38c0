from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from entrypoints.cli import main as cli
from portico.settings.home import Home
from portico.settings.load import load_settings
from tests.fakes.openai import FakeOpenAI


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("PORTICO_HOME", str(tmp_path))
    return Home(tmp_path)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOpenAI]:
    """Ollama on a free port, which the settings name: the usual ports may be somebody's."""
    with FakeOpenAI(models=["tiny:latest", "large"], owned_by="library") as running:
        monkeypatch.setenv("PORTICO_MODELS__PORTS", f"{running.port}, {running.port}")
        yield running


def test_found_models_are_listed_and_one_is_proposed(
    home: Home, server: FakeOpenAI, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["models", "list"]) == 0
    shown = capsys.readouterr().out
    assert "ollama/tiny" in shown
    assert "portico models use ollama/tiny" in shown


@pytest.mark.parametrize("name", ["ollama/tiny", "ollama/tiny:latest"])
def test_a_chosen_model_becomes_the_first_route(home: Home, server: FakeOpenAI, name: str) -> None:
    home.settings.write_text("# mine\nport = 9000\n")
    assert cli.main(["models", "use", name]) == 0
    (route,) = load_settings(home).llm.routes.values()
    assert (route.kind, route.model, route.base_url) == ("openai", "tiny", server.base_url)
    assert home.settings.read_text().startswith("# mine\nport = 9000\n")


def test_what_is_used_is_not_listed_as_found(
    home: Home, server: FakeOpenAI, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["models", "use", "ollama/tiny"])
    capsys.readouterr()
    assert cli.main(["models", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(each["state"], each["name"]) for each in listed] == [
        ("used", "ollama-tiny"),
        ("found", "ollama/large"),
    ]


def test_a_model_that_is_not_offered_is_refused_with_those_that_are(
    home: Home, server: FakeOpenAI, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["models", "use", "ollama/huge"]) == 1
    assert "ollama/large, ollama/tiny" in capsys.readouterr().err
    assert not home.settings.exists()


def test_without_any_server_one_line_says_what_to_do(
    home: Home, server: FakeOpenAI, capsys: pytest.CaptureFixture[str]
) -> None:
    server.stop()
    assert cli.main(["models", "use", "ollama/tiny"]) == 1
    assert "ollama serve" in capsys.readouterr().err
