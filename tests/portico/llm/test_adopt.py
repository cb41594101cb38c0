from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from portico.errors import Misconfigured
from portico.llm.adopt import SettingsFile, adopt
from portico.llm.detect import Offer
from portico.settings.home import Home
from portico.settings.load import load_settings

OLLAMA = Offer("ollama", "llama3.2", "http://127.0.0.1:11434/v1")
VLLM = Offer("vllm", "Qwen/Qwen3-8B", "http://127.0.0.1:8000/v1")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make()
    return home


def routes(home: Home) -> list[tuple[str, str]]:
    return [(name, route.model) for name, route in load_settings(home).llm.routes.items()]


def test_a_first_route_makes_the_file(home: Home) -> None:
    assert adopt(home.settings, OLLAMA) == "ollama-llama3-2"
    assert routes(home) == [("ollama-llama3-2", "llama3.2")]
    assert home.settings.stat().st_mode & 0o777 == 0o600


def test_comments_and_other_keys_stay(home: Home) -> None:
    home.settings.write_text('# mine\nport = 9000  # keep\n\n[log]\nlevel = "debug"')
    adopt(home.settings, OLLAMA)
    text = home.settings.read_text()
    assert text.startswith('# mine\nport = 9000  # keep\n\n[log]\nlevel = "debug"\n')
    assert routes(home) == [("ollama-llama3-2", "llama3.2")]


def test_the_chosen_model_is_tried_first(home: Home) -> None:
    adopt(home.settings, OLLAMA)
    adopt(home.settings, VLLM)
    assert routes(home) == [("vllm-qwen-qwen3-8b", "Qwen/Qwen3-8B"), ("ollama-llama3-2", "llama3.2")]
    adopt(home.settings, OLLAMA)
    assert [model for _, model in routes(home)] == ["llama3.2", "Qwen/Qwen3-8B"]


def test_choosing_again_changes_nothing(home: Home) -> None:
    adopt(home.settings, OLLAMA)
    before = home.settings.read_text()
    adopt(home.settings, OLLAMA)
    assert home.settings.read_text() == before


def test_a_comment_above_a_route_stays_above_it(home: Home) -> None:
    home.settings.write_text('[llm.routes.own]\nkind = "openai"\nbase_url = "http://h:1/v1"\nmodel = "m"\n')
    home.settings.write_text(
        "port = 9000\n\n# my own server\n" + home.settings.read_text() + "\n[log]\nlevel = 'info'\n"
    )
    adopt(home.settings, OLLAMA)
    text = home.settings.read_text()
    assert "# my own server\n[llm.routes.own]" in text
    assert [name for name, _ in routes(home)] == ["ollama-llama3-2", "own"]


def test_a_route_of_that_name_is_replaced_whole(home: Home) -> None:
    home.settings.write_text(
        '[llm.routes.ollama-llama3-2]\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "old"\n'
        "timeout_s = 5\n\n# about the log\n[log]\nlevel = 'info'\n"
    )
    adopt(home.settings, OLLAMA)
    assert routes(home) == [("ollama-llama3-2", "llama3.2")]
    assert "# about the log\n[log]" in home.settings.read_text()


@pytest.mark.parametrize(
    "text",
    [
        'llm = {routes = {own = {kind = "openai", base_url = "http://h:1/v1", model = "m"}}}\n',
        '[llm]\nroutes.own = {kind = "openai", base_url = "http://h:1/v1", model = "m"}\n',
    ],
)
def test_a_file_of_another_shape_is_left_alone(home: Home, text: str) -> None:
    home.settings.write_text(text)
    with pytest.raises(Misconfigured, match=r"\[llm\.routes\.ollama-llama3-2\]"):
        adopt(home.settings, OLLAMA)
    assert home.settings.read_text() == text


def test_a_header_inside_a_text_is_no_header(home: Home) -> None:
    home.settings.write_text('public_url = """\n[llm.routes.own]\n"""\n')
    adopt(home.settings, OLLAMA)
    content = tomllib.loads(home.settings.read_text())
    assert content["public_url"] == "[llm.routes.own]\n"
    assert list(content["llm"]["routes"]) == ["ollama-llama3-2"]


def test_a_file_that_is_no_toml_is_named(home: Home) -> None:
    home.settings.write_text("port = = 1")
    with pytest.raises(Misconfigured, match="not TOML"):
        adopt(home.settings, OLLAMA)


def test_strange_names_are_written_as_they_are(home: Home) -> None:
    adopt(home.settings, Offer("vllm", 'a"b\\c+é', "http://127.0.0.1:8000/v1"))
    (route,) = tomllib.loads(home.settings.read_text())["llm"]["routes"].values()
    assert route["model"] == 'a"b\\c+é'


def test_a_change_is_told_once(home: Home) -> None:
    file = SettingsFile(home)
    assert file.changed() is None
    adopt(home.settings, OLLAMA)
    settings = file.changed()
    assert settings is not None
    assert list(settings.llm.routes) == ["ollama-llama3-2"]
    assert file.changed() is None


def test_a_mistake_in_the_file_is_no_change(home: Home) -> None:
    file = SettingsFile(home)
    home.settings.write_text("unknown = 1\n")
    assert file.changed() is None
