"""A restore of a deployment that is stopped anywhere: what is there then, and what the same command makes of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from operations.backup.sealed_stream import Lock
from operations.deploy import restore
from operations.deploy.backup import master_key
from operations.deploy.compose import ComposeFailed
from operations.deploy.databases import COMING, LEAVING, Databases
from portico.errors import Misconfigured
from portico.storage.engine.migrate import RESTORING
from tests.operations.deploy.support import Deployment, expected, fill, save, what_is_there


class Killed(BaseException):
    """Stands for a kill: nothing in the program catches it."""


class Far(BaseException):
    """It came as far as the test wants."""


def killed_before(number: int, *steps: tuple[object, str], patched: pytest.MonkeyPatch) -> None:
    """The call with this number, of any of these functions, is not made any more."""
    made = 0

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **more: object) -> object:
            nonlocal made
            made += 1
            if made > number:
                raise Killed
            return real(*given, **more)

        return call

    for what, name in steps:
        patched.setattr(what, name, counted(getattr(what, name)))


def ended_before(what: object, name: str, *, patched: pytest.MonkeyPatch) -> None:
    def call(*given: object, **more: object) -> object:
        raise Far

    patched.setattr(what, name, call)


def restore_it(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, master: bytes) -> None:
    compose, lock = deployment.compose(monkeypatch), Lock("master", master)
    restore.restore_deployment(
        compose, deployment.archive, lock, replace=True, master=master, tell=lambda _: None
    )


def contents(*folders: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mode & 0o777, path.read_bytes())
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".part")
    }


def test_a_new_machine_gets_every_file_wherever_the_restore_was_broken_off_before(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings come back where `.env` looks for them."""
    fill(deployment, "heron")
    shutil.rmtree(deployment.folder / "config")
    settings = deployment.root / "etc"
    (settings / "intents").mkdir(parents=True)
    (settings / "portico.toml").write_text("# elsewhere\n")
    (settings / "intents" / "own.yaml").write_text("name: own\n")
    env = f"PORTICO_SITE=chat.example.com\nPORTICO_CONFIG_FOLDER={settings}\n"
    (deployment.folder / ".env").write_text(env)
    save(deployment)
    wanted, master = contents(deployment.folder, settings), master_key(deployment.folder)
    for number in range(100):
        for folder in (deployment.folder, settings):
            shutil.rmtree(folder)
            folder.mkdir()
        ends = []
        for stop in (number, 1000):
            with monkeypatch.context() as patched:
                steps = ((Path, "write_bytes"), (Path, "replace"), (os, "fchmod"))
                killed_before(stop, *steps, patched=patched)
                ended_before(restore, "Databases", patched=patched)
                with pytest.raises((Killed, Far)) as end:
                    restore_it(deployment, patched, master)
                ends.append(end.type)
        assert contents(deployment.folder, settings) == wanted, number
        if ends[0] is Far:
            break
    assert number > 2 * len(wanted)


def test_a_new_machine_refuses_histories_of_a_newer_temporal_and_gets_nothing(
    deployment: Deployment,
) -> None:
    fill(deployment, "heron")
    save(deployment)
    kept = deployment.lose()
    key = ("--master-key", str(kept / "secrets" / "master_key"))
    (deployment.root / "temporal").write_text("1.29.1")
    (deployment.root / "log").write_text("")
    done = deployment.run("restore", str(deployment.archive), *key)
    assert done.returncode == 1 and "newer Temporal (1.32.0; here is 1.29.1)" in done.stderr, done.stderr
    assert list(deployment.folder.iterdir()) == []
    assert not any("up -d" in line for line in deployment.said())


def test_a_place_that_cannot_be_written_is_one_line(deployment: Deployment) -> None:
    fill(deployment, "heron")
    save(deployment)
    kept = deployment.lose()
    (deployment.folder / "secrets").write_text("no folder")
    key = ("--master-key", str(kept / "secrets" / "master_key"))
    done = deployment.run("restore", str(deployment.archive), *key)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"{deployment.folder / 'secrets'}: " in done.stderr


def test_wherever_a_restore_is_stopped_the_database_is_the_old_one_or_marked(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And somebody who is connected does not keep it from its place."""
    blob = fill(deployment, "heron")
    save(deployment)
    master = master_key(deployment.folder)
    for number in range(100):
        deployment.sql("postgres", "DROP DATABASE IF EXISTS portico WITH (FORCE)")
        deployment.sql("postgres", "CREATE DATABASE portico OWNER portico")
        deployment.sql("portico", "CREATE TABLE of_before (id int)")
        with monkeypatch.context() as patched:
            somebody = psycopg.connect(deployment.server.url("portico"))
            somebody.execute("SELECT 1 FROM of_before")
            killed_before(number, (Databases, "ask"), patched=patched)
            ended_before(restore, "_put_keys", patched=patched)
            with pytest.raises((Killed, Far)) as end:
                restore_it(deployment, patched, master)
            somebody.close()
        rows = deployment.sql("portico", "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert rows in ([("of_before",)], [(RESTORING,)]), number
        if end.type is Far:
            break
    assert rows == [(RESTORING,)] and number > 5
    assert not deployment.databases() & {COMING, LEAVING}
    assert deployment.sql("postgres", "SELECT has_database_privilege('temporal', 'portico', 'CONNECT')") == [
        (False,)
    ]
    with pytest.raises(Misconfigured, match="broken off"):
        deployment.database()
    done = deployment.run("restore", str(deployment.archive))
    assert done.returncode == 0, done.stderr
    assert what_is_there(deployment, blob) == expected("heron")


def test_both_names_change_or_none(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    databases = Databases(deployment.compose(monkeypatch))
    deployment.sql("portico", "CREATE TABLE of_before (id int)")
    with pytest.raises(ComposeFailed, match=f'"{COMING}" does not exist'):
        databases.take_its_place()
    assert deployment.sql("portico", "SELECT * FROM of_before") == []
    assert LEAVING not in deployment.databases()


def test_what_changes_data_or_fetches_images_is_given_the_time_it_takes(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a limit the client alone would end, and what it has begun would go on."""
    fill(deployment, "heron")
    save(deployment)
    limits: dict[str, float | None] = {}
    real = subprocess.run

    def noting(command: tuple[str, ...], **how: Any) -> Any:
        limits[" ".join(command)] = how.get("timeout")
        return real(command, **how)

    monkeypatch.setattr(subprocess, "run", noting)
    restore_it(deployment, monkeypatch, master_key(deployment.folder))
    for words in ("up -d", "stop temporal", "restored --made-at"):
        assert [limit for command, limit in limits.items() if words in command] == [None], words
    assert all(limit for command, limit in limits.items() if "config --services" in command)
