"""Secrets of the settings that lie in files or variables, as containers are given them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from portico.crypto.keyring import load_master_key
from portico.errors import Misconfigured
from portico.settings.home import Home
from portico.settings.load import load_settings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make()
    return home


def test_a_file_stands_for_what_is_in_it(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("from the file\n")
    (tmp_path / "name").write_text("user\n")
    monkeypatch.setenv("PORTICO_POLICY__TOKEN", f"file:{tmp_path / 'token'}")
    monkeypatch.setenv("PORTICO_STORAGE__ACCESS_KEY", f"file:{tmp_path / 'name'}")
    settings = load_settings(home)
    assert settings.policy.token is not None
    assert settings.policy.token.get_secret_value() == "from the file"
    assert settings.storage.access_key == "user"
    assert "from the file" not in repr(settings)


def test_a_variable_stands_for_what_it_holds(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_DATABASE", "postgresql://x")
    home.settings.write_text('[database]\nurl = "env:MY_DATABASE"\n')
    url = load_settings(home).database.url
    assert url is not None and url.get_secret_value() == "postgresql://x"


@pytest.mark.parametrize("place", ["file:/nowhere/secret", "env:NOT_SET_ANYWHERE"])
def test_a_secret_that_is_not_there_is_one_line_that_names_it(home: Home, place: str) -> None:
    home.settings.write_text(f'[policy]\ntoken = "{place}"\n')
    with pytest.raises(Misconfigured, match=f"policy.token: {place} is not there"):
        load_settings(home)


def test_the_master_key_may_lie_in_a_file(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "master"
    place.write_text(base64.b64encode(b"k" * 32).decode() + "\n")
    monkeypatch.setenv("PORTICO_MASTER_KEY", f"file:{place}")
    assert load_master_key(home) == b"k" * 32
    place.unlink()
    with pytest.raises(Misconfigured, match=f"PORTICO_MASTER_KEY: the secret file {place} cannot be read"):
        load_master_key(home)
