"""A deployment's data saved and put back."""

from __future__ import annotations

import asyncio
import json
import os

import pytest

from operations.deploy import secrets
from portico.errors import Misconfigured
from tests.operations.deploy.support import Deployment, expected, fill, save, what_is_there


def test_a_wiped_deployment_comes_back_and_what_was_on_its_way_may_be_a_repeat(
    deployment: Deployment,
) -> None:
    blob = fill(deployment, "heron")
    assert what_is_there(deployment, blob)["outbox"] == ("ready", 1)
    save(deployment)
    content = deployment.archive.read_bytes()
    for secret in (
        "heron",
        *((deployment.folder / "secrets" / name).read_text().strip() for name in ("opa_token", "master_key")),
    ):
        assert secret.encode() not in content
    deployment.wipe()
    asyncio.run(deployment.blobs().delete(blob))
    extra = asyncio.run(deployment.blobs().put(b"of later"))
    done = deployment.run("restore", str(deployment.archive))
    assert done.returncode == 0, done.stderr
    assert what_is_there(deployment, blob) == expected("heron")
    assert any(line.endswith("stop temporal worker api caddy") for line in deployment.said())
    with pytest.raises(Exception, match="not found"):
        asyncio.run(deployment.blobs().get(extra))
    owners = deployment.sql("temporal", "SELECT tableowner FROM pg_tables WHERE tablename = 'executions'")
    assert owners == [("temporal",)]


def test_a_lost_machine_comes_back_by_the_archive_and_a_passphrase(deployment: Deployment) -> None:
    blob = fill(deployment, "heron")
    phrase = deployment.root / "phrase"
    phrase.write_text("correct horse battery\n")
    kept = {path.name: path.read_text() for path in (deployment.folder / "secrets").iterdir()}
    (deployment.folder / "secrets" / ".keyring.json.part").write_text("of a restore that was broken off")
    save(deployment, "--passphrase-file", str(phrase))
    deployment.folder.rename(deployment.root / "lost")
    deployment.wipe()
    deployment.folder.mkdir()
    (deployment.root / "inside" / "keyring.json").unlink()
    (deployment.root / "inside" / "keyring.json").symlink_to(deployment.folder / "secrets" / "keyring.json")
    done = deployment.run("restore", str(deployment.archive), "--passphrase-file", str(phrase))
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_text() for path in (deployment.folder / "secrets").iterdir()} == kept
    assert (deployment.folder / "secrets").stat().st_mode & 0o777 == 0o700
    assert (deployment.folder / "config" / "portico.toml").exists() and (deployment.folder / ".env").exists()
    assert secrets.problems(deployment.folder) == []
    assert what_is_there(deployment, blob) == expected("heron")


def test_data_that_is_there_is_replaced_only_on_request_with_its_keys(deployment: Deployment) -> None:
    blob = fill(deployment, "heron")
    save(deployment)
    old_master = (deployment.folder / "secrets" / "master_key").read_text()
    (deployment.folder / "secrets").rename(deployment.root / "old")
    secrets.make(deployment.folder)
    deployment.wipe()
    fill(deployment, "stork")
    key = ("--master-key", str(deployment.root / "old" / "master_key"))
    refused = deployment.run("restore", str(deployment.archive), *key)
    assert refused.returncode == 1 and "--replace" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 2, refused.stderr
    done = deployment.run("restore", str(deployment.archive), "--replace", *key)
    assert done.returncode == 0, done.stderr
    assert (deployment.folder / "secrets" / "master_key").read_text() == old_master
    assert len(list((deployment.folder / "secrets").glob("*.before-*"))) == 2
    assert what_is_there(deployment, blob) == expected("heron")


def test_a_restore_that_breaks_off_lets_nothing_start_and_can_be_repeated(deployment: Deployment) -> None:
    blob = fill(deployment, "heron")
    save(deployment)
    deployment.wipe()
    deployment.break_at("pg_restore")
    broken = deployment.run("restore", str(deployment.archive))
    assert broken.returncode == 1 and "Traceback" not in broken.stderr
    deployment.mend()
    with pytest.raises(Misconfigured, match="broken off"):
        deployment.database()
    done = deployment.run("restore", str(deployment.archive))
    assert done.returncode == 0, done.stderr
    assert what_is_there(deployment, blob) == expected("heron")


def test_a_dump_that_fails_leaves_no_archive(deployment: Deployment) -> None:
    fill(deployment, "heron")
    deployment.break_at("pg_dump")
    done = deployment.run("backup", str(deployment.archive))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert list(deployment.root.glob("*saved.backup*")) == []


def test_an_archive_that_does_not_fit_changes_nothing(deployment: Deployment) -> None:
    blob = fill(deployment, "heron")
    save(deployment)
    before = what_is_there(deployment, blob)
    (deployment.root / "temporal").write_text("1.29.1")
    newer = deployment.run("restore", str(deployment.archive), "--replace")
    assert newer.returncode == 1 and "newer Temporal (1.32.0; here is 1.29.1)" in newer.stderr
    (deployment.root / "temporal").write_text("1.32.0")
    with deployment.archive.open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"xxxxx")
    damaged = deployment.run("restore", str(deployment.archive), "--replace")
    assert damaged.returncode == 1 and "damaged or cut" in damaged.stderr
    assert what_is_there(deployment, blob) == before
    assert not any(" stop " in line for line in deployment.said())


def test_an_empty_deployment_has_nothing_to_save(deployment: Deployment) -> None:
    done = deployment.run("backup", str(deployment.archive))
    assert done.returncode == 1 and "nothing to back up" in done.stderr
    assert json.dumps(done.stderr.count("\n")) == "1"


def test_what_keeps_the_objects_from_being_read_is_what_the_backup_tells(deployment: Deployment) -> None:
    fill(deployment, "heron")
    keyring = deployment.root / "inside" / "keyring.json"
    keyring.unlink()
    keyring.write_text("{}")
    done = deployment.run("backup", str(deployment.archive))
    assert done.returncode == 1 and "in the middle of a file" not in done.stderr
    assert "keyring" in done.stderr, done.stderr


def test_a_database_that_cannot_be_asked_is_not_called_empty(deployment: Deployment) -> None:
    fill(deployment, "heron")
    deployment.break_at("psql")
    done = deployment.run("backup", str(deployment.archive))
    assert done.returncode == 1 and "nothing to back up" not in done.stderr
    assert "docker compose exec" in done.stderr
