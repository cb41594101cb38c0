"""Each part that is missing, wrong, too old or too new is one line, for `deploy check --parts` and for every start."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from minio import Minio

from operations.checks.parts import insist, read_ground
from portico.crypto.keyring import open_keyring
from portico.errors import PorticoError
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.storage.engine.database import Database
from portico.storage.engine.migrate import known_migrations
from tests.portico.servers import KEY, SECRET, free_port, s3_server, temporal_server
from tests.postgres import PostgresServer, running_postgres
from tests.support import CHECKOUT

NOBODY = 1
"""A port where nobody answers."""


@dataclass
class World:
    """Real servers, and a home whose settings name them."""

    postgres: PostgresServer
    s3: int
    temporal: int
    home: Home
    url: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PORTICO_HOME": str(self.home.root),
            "PORTICO_PORT": str(free_port()),
            "PORTICO_GRPC_PORT": str(free_port()),
            "PORTICO_DATABASE__URL": self.url,
            "PORTICO_STORAGE__URL": f"http://127.0.0.1:{self.s3}",
            "PORTICO_STORAGE__ACCESS_KEY": KEY,
            "PORTICO_STORAGE__SECRET_KEY": SECRET,
            "PORTICO_TEMPORAL__ADDRESS": f"127.0.0.1:{self.temporal}",
            "PORTICO_POLICY__URL": f"http://127.0.0.1:{NOBODY}",
            "PORTICO_POLICY__TOKEN": "token",
            "PORTICO_MODELS__TRITON": f"127.0.0.1:{NOBODY}",
            "PORTICO_SANDBOX__URL": f"http://127.0.0.1:{NOBODY}",
        }

    def run(self, *arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTICO_")}
        return subprocess.run(
            (sys.executable, "-m", "entrypoints.cli.main", *arguments),
            cwd=CHECKOUT,
            env=kept | self.environment | changed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def sql(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)

    @property
    def bucket(self) -> Minio:
        return Minio(
            f"127.0.0.1:{self.s3}", access_key=KEY, secret_key=SECRET, secure=False, region="us-east-1"
        )


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PostgresServer, int, int]]:
    with ExitStack() as running:
        postgres = running.enter_context(running_postgres())
        s3 = running.enter_context(s3_server(tmp_path_factory.mktemp("s3")))
        temporal = running.enter_context(temporal_server(tmp_path_factory.mktemp("temporal")))
        yield postgres, s3, temporal


@pytest.fixture
def world(servers: tuple[PostgresServer, int, int], tmp_path: Path) -> Iterator[World]:
    """Well, but for rules, models and sandbox, which may come later."""
    postgres, s3, temporal = servers
    url = postgres.new_database()
    home = Home(tmp_path / "home")
    home.make()
    made = World(postgres, s3, temporal, home, url)
    Database.open(home, open_keyring(home), Settings.model_validate({"database": {"url": url}})).close()
    if not made.bucket.bucket_exists("portico"):
        made.bucket.make_bucket("portico")
    yield made
    postgres.drop(url)


Fault = Callable[[World], dict[str, str]]


def database_away(world: World) -> dict[str, str]:
    return {"PORTICO_DATABASE__URL": f"postgresql://a:b@127.0.0.1:{NOBODY}/x"}


def wrong_password(world: World) -> dict[str, str]:
    return {"PORTICO_DATABASE__URL": world.url.replace(world.postgres.password, "wrong")}


def no_such_database(world: World) -> dict[str, str]:
    return {"PORTICO_DATABASE__URL": world.postgres.url("nosuch")}


def newer_database(world: World) -> dict[str, str]:
    world.sql("INSERT INTO schema_migrations VALUES (9999, 'later', 'x', 1)")
    return {}


def other_migrations(world: World) -> dict[str, str]:
    world.sql("UPDATE schema_migrations SET checksum = 'other' WHERE version = 2")
    return {}


def half_of_a_migration(world: World) -> dict[str, str]:
    newest = known_migrations()[-1].version
    world.sql(f"DELETE FROM schema_migrations WHERE version = {newest}")
    return {}


def half_of_a_restore(world: World) -> dict[str, str]:
    world.sql("CREATE TABLE portico_restoring (since int)")
    return {}


def bucket_away(world: World) -> dict[str, str]:
    return {"PORTICO_STORAGE__URL": f"http://127.0.0.1:{NOBODY}"}


def bucket_missing(world: World) -> dict[str, str]:
    return {"PORTICO_STORAGE__BUCKET": "nosuchbucket"}


def wrong_keys(world: World) -> dict[str, str]:
    return {"PORTICO_STORAGE__SECRET_KEY": "wrong"}


def no_object_lock(world: World) -> dict[str, str]:
    return {"PORTICO_STORAGE__OBJECT_LOCK": "true"}


def temporal_away(world: World) -> dict[str, str]:
    return {"PORTICO_TEMPORAL__ADDRESS": f"127.0.0.1:{NOBODY}"}


def no_namespace(world: World) -> dict[str, str]:
    return {"PORTICO_TEMPORAL__NAMESPACE": "nosuch"}


def weak_master_key(world: World) -> dict[str, str]:
    return {"PORTICO_MASTER_KEY": "changeme"}


def secret_file_missing(world: World) -> dict[str, str]:
    return {"PORTICO_POLICY__TOKEN": "file:/nothing/there"}


FAULTS: dict[str, tuple[Fault, str]] = {
    "database away": (database_away, "nothing answers at database.url"),
    "wrong password": (wrong_password, "refused the user or the password of database.url"),
    "no such database": (no_such_database, "does not exist; create it first"),
    "newer database": (newer_database, "the database is newer than this Portico (schema 9999"),
    "other migrations": (other_migrations, "is not the one that made this database"),
    "half of a migration": (half_of_a_migration, "does not apply"),
    "half of a restore": (half_of_a_restore, "broken off"),
    "bucket away": (bucket_away, "nothing answers at storage.url"),
    "bucket missing": (bucket_missing, "S3 has no bucket nosuchbucket"),
    "wrong keys": (wrong_keys, "S3 does not let Portico in"),
    "no object lock": (no_object_lock, "has no object lock"),
    "temporal away": (temporal_away, "nothing answers at temporal.address"),
    "no namespace": (no_namespace, "temporal has no namespace nosuch"),
    "weak master key": (weak_master_key, "does not hold a master key"),
    "secret file missing": (secret_file_missing, "file:/nothing/there is not there"),
}
STARTS = (
    ("worker", "database away"),
    ("worker", "half of a migration"),
    ("worker", "bucket missing"),
    ("worker", "no namespace"),
    ("api", "newer database"),
    ("api", "half of a restore"),
    ("api", "temporal away"),
    ("api", "weak master key"),
)


@pytest.mark.parametrize("name", [name for name in FAULTS if name != "half of a migration"])
async def test_it_is_told_in_one_line(world: World, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fault, told = FAULTS[name]
    for key, value in (world.environment | fault(world)).items():
        monkeypatch.setenv(key, value)
    with pytest.raises(PorticoError) as raised:
        await insist(read_ground(), patience_s=0)
    assert told in raised.value.message and "\n" not in raised.value.message


async def test_what_comes_within_its_time_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    late = {"PORTICO_STORAGE__URL": f"http://127.0.0.1:{port}", "PORTICO_STORAGE__BUCKET": "late"}
    for key, value in (world.environment | late).items():
        monkeypatch.setenv(key, value)
    waiting = asyncio.create_task(insist(read_ground(), patience_s=20))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    (world.home.root / "late" / "data" / "late").mkdir(parents=True)
    with s3_server(world.home.root / "late", port=port):
        warnings = await waiting
    assert [line.split(" is unavailable")[0] for line in warnings] == ["OPA", "triton", "sandbox"]


@pytest.mark.parametrize(("part", "name"), STARTS)
def test_a_start_says_it_in_one_line_and_ends(world: World, part: str, name: str) -> None:
    fault, told = FAULTS[name]
    done = world.run("serve", part, "--wait", "0.2", **fault(world))
    lines = [line for line in done.stderr.strip().splitlines() if "what needs it waits" not in line]
    assert done.returncode != 0
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("portico") and told in lines[0], done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("name", ["newer database", "temporal away"])
def test_the_check_tells_it_beside_what_is_well(world: World, name: str) -> None:
    fault, told = FAULTS[name]
    done = world.run("deploy", "check", "--parts", "--json", **fault(world))
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 1
    bad = [finding for finding in findings.values() if not finding["well"] and not finding["later"]]
    assert len(bad) == 1 and told in bad[0]["detail"]
    assert {what for what, finding in findings.items() if finding["later"]} == {"rules", "models", "sandbox"}


def test_what_may_come_later_keeps_nothing_from_being_well(world: World) -> None:
    done = world.run("deploy", "check", "--parts")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ok", "ok", "ok", "later", "later", "later"]
    assert "nothing answers at policy.url" in done.stdout and "not ready at models.triton" in done.stdout


def test_a_bucket_that_portico_makes_has_the_lock_that_is_asked_for(world: World) -> None:
    locked = {"PORTICO_STORAGE__BUCKET": "locked", "PORTICO_STORAGE__OBJECT_LOCK": "true"}
    made = world.run("deploy", "prepare", **locked)
    assert made.returncode == 0, made.stderr
    done = world.run("deploy", "check", "--parts", **locked)
    assert done.returncode == 0 and "locked, with object lock" in done.stdout


@pytest.mark.parametrize("key", ["PORTICO_PORT", "PORTICO_GRPC_PORT"])
def test_a_door_that_is_taken_is_told(world: World, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = world.run("serve", "api", "--wait", "0", **{key: str(taken.getsockname()[1])})
    assert done.returncode != 0 and "is taken" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
