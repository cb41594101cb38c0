"""A deployment's secrets: made once, never replaced, and told apart from ones that cannot be used."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from operations.deploy import secrets
from portico.crypto.keyring import open_keyring
from portico.errors import Misconfigured
from portico.settings.home import Home


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


@pytest.mark.parametrize("lost", [("master_key",), ("keyring.json",), ("master_key", "keyring.json")])
def test_lost_keys_are_never_made_anew_beside_the_data(tmp_path: Path, lost: tuple[str, ...]) -> None:
    secrets.make(tmp_path)
    for name in lost:
        (tmp_path / "secrets" / name).unlink()
    before = {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()}
    [problem] = secrets.problems(tmp_path)
    assert all(name in problem for name in lost) and "backup" in problem and "deploy init" not in problem
    with pytest.raises(Misconfigured, match=lost[0]):
        secrets.make(tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()} == before


def test_a_key_that_opens_another_keyring_is_told(tmp_path: Path) -> None:
    secrets.make(tmp_path / "here")
    secrets.make(tmp_path / "other")
    (tmp_path / "other" / "secrets" / "master_key").replace(tmp_path / "here" / "secrets" / "master_key")
    [problem] = secrets.problems(tmp_path / "here")
    assert "does not open" in problem
    with pytest.raises(Misconfigured, match="does not open"):
        secrets.make(tmp_path / "here")


def test_a_damaged_keyring_is_told(tmp_path: Path) -> None:
    secrets.make(tmp_path)
    path = tmp_path / "secrets" / "keyring.json"
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:200])
    [problem] = secrets.problems(tmp_path)
    assert "damaged" in problem and "backup" in problem


def test_a_making_that_broke_off_is_finished(tmp_path: Path) -> None:
    """Wherever it broke off: nothing was stored before its last file is there."""
    secrets.make(tmp_path)
    for name in (secrets.DATABASE_URL, secrets.KEYRING, "owner_key", "postgres_password"):
        (tmp_path / "secrets" / name).unlink()
        assert name in secrets.make(tmp_path) and secrets.problems(tmp_path) == []
        (tmp_path / "secrets" / secrets.DATABASE_URL).unlink()


def test_a_folder_without_secrets_says_what_makes_them(tmp_path: Path) -> None:
    [line] = secrets.problems(tmp_path)
    assert "portico deploy init" in line
