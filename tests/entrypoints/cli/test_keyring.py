from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from entrypoints.cli.main import main
from operations.deploy import secrets
from portico.crypto.holders import KeyringFollower
from portico.crypto.keyring import WrongMasterKey, load_master_key, open_keyring, read_master_key, unwrapped
from portico.crypto.rotation import StoredKeyring, rotation_lock
from portico.settings.home import Home
from tests.support import CHECKOUT

DOCKER = """#!/bin/sh
case "$*" in
  *" ps "*) cat "$ANSWERS/ps" ;;
  *"keyring check"*) echo asked >> "$ANSWERS/asked"; [ "$(wc -l < "$ANSWERS/asked")" -gt 2 ] ;;
esac
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("PORTICO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PORTICO_MASTER_KEY", raising=False)
    monkeypatch.setattr("entrypoints.cli.keyring.SETTLE_S", 0.01)
    monkeypatch.setattr("entrypoints.cli.keyring.POLL_S", 0.01)
    home = Home(tmp_path / "home")
    home.make()
    open_keyring(home)
    return home


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    secrets.make(tmp_path / "deployment")
    return tmp_path / "deployment"


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, str]]:
    capsys.readouterr()
    assert main(["keyring", "list", "--json", *arguments]) == 0
    keys: list[dict[str, str]] = json.loads(capsys.readouterr().out)["keys"]
    return keys


# --- refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", ["id", "index", "database"])
def test_keys_that_are_made_once_are_refused(
    home: Home, purpose: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keyring", "rotate", purpose]) == 1
    assert f"the {purpose} key is made once and never rotated: " in capsys.readouterr().err


def test_two_rotations_at_once_are_refused(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    with rotation_lock(home.root):
        assert main(["keyring", "rotate", "payload"]) == 1
    error = capsys.readouterr().err
    assert "another rotation" in error
    assert error.count("\n") == 1


def test_a_damaged_keyring_is_one_line(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.keyring.write_text('{"keys": [')
    for command in (["rotate", "payload"], ["rotate", "master"], ["list"], ["check", "p1"]):
        assert main(["keyring", *command]) == 1
        error = capsys.readouterr().err
        assert "is damaged" in error
        assert error.count("\n") == 1


def test_no_keyring_is_said_and_none_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORTICO_HOME", str(tmp_path / "nothing"))
    assert main(["keyring", "rotate", "payload"]) == 1
    assert main(["keyring", "list"]) == 1
    assert not (tmp_path / "nothing" / "keyring.json").exists()
    assert capsys.readouterr().err.count("\n") == 2


def test_a_key_is_not_used_while_a_process_does_not_hold_it(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portico.crypto.holders.CHECK_S", 3600)
    follower = KeyringFollower(home, open_keyring(home), part="worker")
    follower.start()
    before = open_keyring(home).current("payload").id
    assert main(["keyring", "rotate", "payload", "--timeout", "1"]) == 1
    captured = capsys.readouterr()
    assert f"worker (process {os.getpid()}) has not read the keyring again yet" in captured.out
    assert "is known and not used" in captured.err
    assert open_keyring(home).current("payload").id == before
    follower.close()
    (key,) = [key for key in listed(capsys) if key["state"] == "known"]
    assert main(["keyring", "rotate", "payload"]) == 0
    assert open_keyring(home).current("payload").id == key["id"]


def test_a_deployment_that_does_not_run_here_is_not_rotated_blindly(
    home: Home,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _docker(tmp_path, monkeypatch, containers=())
    assert main(["keyring", "rotate", "payload", "--folder", str(folder)]) == 1
    assert "--by-hand" in capsys.readouterr().err


# --- what works ----------------------------------------------------------------------------------------


def test_the_list_shows_no_key(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert {key["purpose"] for key in listed(capsys)} >= {"payload", "blob", "live", "seal", "id"}
    assert main(["keyring", "list"]) == 0
    printed = capsys.readouterr().out
    for key in open_keyring(home).keys():  # noqa: SIM118 - a keyring is no mapping
        assert key.id in printed
        assert base64.b64encode(key.secret).decode() not in printed


@pytest.mark.parametrize("purpose", ["payload", "blob", "live"])
def test_a_rotation_says_what_it_does(home: Home, purpose: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keyring", "rotate", purpose]) == 0
    current = open_keyring(home).current(purpose).id
    assert capsys.readouterr().out.splitlines() == [
        f"{current}: known; waiting until every process holds it",
        f"{current}: current; former {purpose} keys go on decrypting",
    ]
    assert main(["keyring", "check", current]) == 0
    assert main(["keyring", "check", "p000"]) == 1


def test_a_new_sealing_key_is_printed_for_the_edges(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keyring", "rotate", "seal"]) == 0
    printed, key = capsys.readouterr().out, open_keyring(home).current("seal")
    assert f'seal_key_id = "{key.id}"' in printed
    assert base64.b64encode(key.secret).decode() not in printed


def test_the_master_key_in_a_file_is_replaced_and_the_former_kept(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    keys, former = open_keyring(home).keys(), load_master_key(home)
    assert main(["keyring", "rotate", "master"]) == 0
    assert load_master_key(home) != former
    assert open_keyring(home).keys() == keys
    with pytest.raises(WrongMasterKey):
        open_keyring(home, former)
    (kept,) = home.root.glob("master.key.before-*")
    assert read_master_key(kept) == former
    assert kept.stat().st_mode & 0o077 == 0
    assert str(kept) in capsys.readouterr().out


def test_the_master_key_in_a_named_file_is_replaced(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    home.master_key.rename(elsewhere)
    monkeypatch.setenv("PORTICO_MASTER_KEY", f"file:{elsewhere}")
    keys, former = open_keyring(home).keys(), read_master_key(elsewhere)
    assert main(["keyring", "rotate", "master"]) == 0
    assert read_master_key(elsewhere) != former
    assert open_keyring(home).keys() == keys
    assert not home.master_key.exists()


def test_the_master_key_in_a_variable_is_rotated_in_two_calls(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys, former = open_keyring(home).keys(), home.master_key.read_text()
    home.master_key.unlink()
    monkeypatch.setenv("PORTICO_MASTER_KEY", former)
    assert main(["keyring", "rotate", "master"]) == 1
    assert "--new-key-file" in capsys.readouterr().err
    new = tmp_path / "new"
    assert main(["keyring", "rotate", "master", "--new-key-file", str(new)]) == 0
    assert "Set PORTICO_MASTER_KEY" in capsys.readouterr().out
    assert open_keyring(home).keys() == keys  # processes that start with the former variable go on
    monkeypatch.setenv("PORTICO_MASTER_KEY", new.read_text().strip())
    assert open_keyring(home).keys() == keys
    assert main(["keyring", "rotate", "master"]) == 0
    monkeypatch.setenv("PORTICO_MASTER_KEY", former)
    with pytest.raises(WrongMasterKey):
        open_keyring(home)


def test_a_compose_deployment_waits_for_its_containers(
    home: Home,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = _docker(tmp_path, monkeypatch, containers=("portico-api-1", "portico-worker-1"))
    path = folder / "secrets" / "keyring.json"
    inode = path.stat().st_ino
    assert main(["keyring", "rotate", "payload", "--folder", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "portico-api-1: no answer" in printed
    assert "current" in printed
    assert len((answers / "asked").read_text().splitlines()) == 4
    assert path.stat().st_ino == inode
    assert secrets.problems(folder) == []


def test_a_deployment_elsewhere_is_carried_by_hand(
    home: Home, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["keyring", "rotate", "blob", "--folder", str(folder), "--by-hand"]
    assert main([*command, "--known-everywhere"]) == 1
    assert main(command) == 0
    printed = capsys.readouterr().out
    (known,) = [key["id"] for key in listed(capsys, "--folder", str(folder)) if key["state"] == "known"]
    assert f"portico keyring check {known}" in printed
    assert "kubectl -n portico create secret generic portico --from-file" in printed
    assert main([*command, "--known-everywhere"]) == 0
    states = {key["id"]: key["state"] for key in listed(capsys, "--folder", str(folder))}
    assert states[known] == "current"


def test_the_master_key_of_a_deployment_is_rotated_in_place(home: Home, folder: Path) -> None:
    place = folder / "secrets"
    stored = StoredKeyring(place / "keyring.json", place / "master_key", in_place=True)
    former = read_master_key(place / "master_key")
    keys = unwrapped(stored.keyring, former).keys
    assert main(["keyring", "rotate", "master", "--folder", str(folder)]) == 0
    assert unwrapped(stored.keyring, read_master_key(place / "master_key")).keys == keys
    assert secrets.problems(folder) == []
    with pytest.raises(WrongMasterKey):
        unwrapped(stored.keyring, former)


def test_the_command_is_one_of_portico() -> None:
    done = subprocess.run(
        (sys.executable, "-m", "entrypoints.cli.main", "keyring", "--help"),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "rotate" in done.stdout


def _docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, containers: tuple[str, ...]) -> Path:
    """A `docker` that names these containers, and whose first two answers are that the key is not there."""
    programs, answers = tmp_path / "programs", tmp_path / "answers"
    programs.mkdir()
    answers.mkdir()
    (programs / "docker").write_text(DOCKER)
    (programs / "docker").chmod(0o755)
    lines = [json.dumps({"Name": name, "State": "running"}) for name in containers]
    (answers / "ps").write_text("\n".join(lines))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("ANSWERS", str(answers))
    return answers
