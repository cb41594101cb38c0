"""A deployment's secrets: made once, never replaced, and told apart from ones that cannot be used."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from portico.crypto import open_keyring
from portico.deploy import secrets
from portico.errors import Misconfigured
from portico.home import Home


def test_everything_is_made_once_and_opens_what_it_should(tmp_path: Path) -> None:
    made = secrets.make(tmp_path)
    assert set(made) == {kept.name for kept in secrets.KEPT} | {secrets.DATABASE_URL, secrets.KEYRING}
    before = {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()}
    assert secrets.make(tmp_path) == []
    assert {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()} == before
    assert secrets.problems(tmp_path) == []
    home = Home(tmp_path / "home")
    home.make()
    home.keyring.write_bytes((tmp_path / "secrets" / "keyring.json").read_bytes())
    home.keyring.chmod(0o600)
    master = base64.b64decode((tmp_path / "secrets" / "master_key").read_text())
    assert len(open_keyring(home, master).keys()) >= 7


def test_only_the_folder_keeps_others_out_and_it_does(tmp_path: Path) -> None:
    secrets.make(tmp_path)
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    (tmp_path / "secrets").chmod(0o755)
    assert any("open to other users" in line for line in secrets.problems(tmp_path))


@pytest.mark.parametrize("name", [kept.name for kept in secrets.KEPT])
@pytest.mark.parametrize("content", ["", "x", "password", "changeme\n"])
def test_a_weak_secret_is_named_and_never_replaced(tmp_path: Path, name: str, content: str) -> None:
    secrets.make(tmp_path)
    path = tmp_path / "secrets" / name
    path.chmod(0o600)
    path.write_text(content)
    assert [
        line for line in secrets.problems(tmp_path) if str(path) in line and "not a usable secret" in line
    ]
    with pytest.raises(Misconfigured, match=name):
        secrets.make(tmp_path)
    assert path.read_text() == content


@pytest.mark.parametrize("name", ["master_key", "keyring.json", "database_url"])
def test_a_missing_secret_is_named(tmp_path: Path, name: str) -> None:
    secrets.make(tmp_path)
    (tmp_path / "secrets" / name).unlink()
    assert any(name in line for line in secrets.problems(tmp_path))


def test_a_folder_without_secrets_says_what_makes_them(tmp_path: Path) -> None:
    [line] = secrets.problems(tmp_path)
    assert "portico deploy init" in line
