"""A deployment's data saved and put back: real PostgreSQL with its own programs, a real S3 server, real archives.

Docker itself is played by a program that runs in place what compose would run in a container; `make test-deploy` does
the same with containers.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from portico.contracts import BlobRef, ConversationRef
from portico.crypto import open_keyring
from portico.deploy import secrets
from portico.errors import Misconfigured
from portico.home import Home
from portico.settings import Settings
from portico.settings_servers import DatabaseSettings
from portico.storage.blobs import BlobStore
from portico.storage.database import Database
from portico.storage.inbox import Inbox
from portico.storage.memory import Line, Memory
from portico.storage.outbox import Outbox
from portico.storage.outbox_rows import NewRow
from tests.portico.servers import KEY, SECRET, connections, s3_server
from tests.postgres import PostgresServer, postgres_programs, running_postgres
from tests.support import CHECKOUT

NAMES = ("portico", "temporal", "temporal_visibility")
DOCKER = """#!{python}
import json, os, subprocess, sys
words = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(" ".join(words[-12:]) + "\\n")
if "exec" in words:
    program = words[words.index("sh", words.index("-c")) + 1:]
    at = os.path.join({programs!r}, program[0])
    broken = os.path.exists({broken!r}) and program[0] == open({broken!r}).read()
    done = subprocess.run([at, *program[1:]], env=dict(os.environ, **{env!r}))
    sys.exit(3 if broken else done.returncode)
if "run" in words:
    part = words[words.index("portico") + 1:]
    os.execve({python!r}, [{python!r}, "-m", "portico.cli.main", *part], dict(os.environ, **{inside!r}))
if "--services" in words:
    print("postgres s3 temporal worker api caddy")
elif "--format" in words:
    print(json.dumps({{"services": {{"temporal": {{"image": "temporalio/server:" + open({temporal!r}).read()}}}}}}))
"""


@dataclass
class Deployment:
    """What `docker compose` would run, without containers."""

    root: Path
    server: PostgresServer
    s3: int
    number: int = 0

    @property
    def folder(self) -> Path:
        return self.root / "deployment"

    @property
    def archive(self) -> Path:
        return self.root / "saved.backup"

    @property
    def settings(self) -> Settings:
        return Settings(database=DatabaseSettings(url=SecretStr(self.server.url("portico"))))

    def keyring_home(self) -> Home:
        home = Home(self.root / f"home{self.number}")
        self.number += 1
        home.make()
        home.keyring.write_bytes((self.folder / "secrets" / "keyring.json").read_bytes())
        home.master_key.write_bytes((self.folder / "secrets" / "master_key").read_bytes())
        return home

    def database(self) -> Database:
        home = self.keyring_home()
        return Database.open(home, open_keyring(home), self.settings)

    def blobs(self) -> BlobStore:
        return BlobStore(connections(s3=self.s3), open_keyring(self.keyring_home()))

    def sql(self, database: str, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.server.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTICO_")}
        return subprocess.run(
            (sys.executable, "-m", "portico.cli.main", "deploy", *arguments, "--folder", str(self.folder)),
            cwd=CHECKOUT,
            env=kept
            | {"PATH": f"{self.root / 'bin'}:{os.environ['PATH']}", "PORTICO_HOME": str(self.root / "none")},
            capture_output=True,
            text=True,
            timeout=100,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def wipe(self) -> None:
        """As `docker compose down -v`: empty databases, an empty bucket."""
        for name in NAMES:
            self.sql("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            self.sql(
                "postgres", f"CREATE DATABASE {name} OWNER {'temporal' if 'temporal' in name else 'portico'}"
            )

    def break_at(self, program: str) -> None:
        (self.root / "broken").write_text(program)

    def mend(self) -> None:
        (self.root / "broken").unlink()

    def said(self) -> list[str]:
        return (self.root / "log").read_text().splitlines()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres() as running:
        with psycopg.connect(running.url(), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE postgres SUPERUSER LOGIN PASSWORD '{running.password}'")
            connection.execute("CREATE ROLE temporal LOGIN")
        yield running


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with s3_server(tmp_path_factory.mktemp("s3")) as port:
        yield port


@pytest.fixture
def deployment(tmp_path: Path, server: PostgresServer, s3: int) -> Deployment:
    made = Deployment(tmp_path, server, s3)
    secrets.make(made.folder)
    (made.folder / "config").mkdir()
    (made.folder / "config" / "portico.toml").write_text("# settings of a deployment\n")
    (made.folder / ".env").write_text("PORTICO_SITE=chat.example.com\n")
    (tmp_path / "temporal").write_text("1.32.0")
    inside = {
        "PORTICO_HOME": str(tmp_path / "inside"),
        "PORTICO_MASTER_KEY": f"file:{made.folder}/secrets/master_key",
        "PORTICO_DATABASE__URL": server.url("portico"),
        "PORTICO_STORAGE__URL": f"http://127.0.0.1:{s3}",
        "PORTICO_STORAGE__ACCESS_KEY": KEY,
        "PORTICO_STORAGE__SECRET_KEY": SECRET,
        "PORTICO_TEMPORAL__ADDRESS": "127.0.0.1:1",
        "PORTICO_POLICY__URL": "http://127.0.0.1:1",
        "PORTICO_MODELS__TRITON": "127.0.0.1:1",
    }
    (tmp_path / "inside").mkdir(mode=0o700)
    (tmp_path / "inside" / "keyring.json").symlink_to(made.folder / "secrets" / "keyring.json")
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(
        DOCKER.format(
            python=sys.executable,
            log=str(tmp_path / "log"),
            broken=str(tmp_path / "broken"),
            temporal=str(tmp_path / "temporal"),
            programs=str(postgres_programs()),
            env={
                "PGHOST": "127.0.0.1",
                "PGPORT": str(server.port),
                "PGUSER": "postgres",
                "PGPASSWORD": server.password,
            },
            inside=inside,
        )
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    made.wipe()
    return made


def fill(deployment: Deployment, word: str) -> BlobRef:
    for name in NAMES[1:]:
        deployment.sql(name, "CREATE TABLE executions (shard_id int, data bytea)")
        deployment.sql(name, f"INSERT INTO executions VALUES (1, '{word}')")
        deployment.sql(name, "ALTER TABLE executions OWNER TO temporal")

    async def rows() -> BlobRef:
        database = deployment.database()
        ref = ConversationRef(id="c", channel="telegram", account="default", chat="7")
        await Inbox(database).claim("c", ("k",), "before", now=5, text=word, ref=ref)
        await Memory(database).remember("c", "before", [Line("user", word, 1)])
        await Outbox(database).prepare([NewRow("c", "before", 0, "sendMessage", "{}")], now=6)
        database.close()
        return await deployment.blobs().put(word.encode() * 1000)

    return asyncio.run(rows())


async def _what_is_there(deployment: Deployment, blob: BlobRef) -> dict[str, object]:
    database = deployment.database()
    try:
        [row] = await Outbox(database).of_turn("before")
        return {
            "memory": [line.text for line in await Memory(database).recent("c", 5)],
            "outbox": (row.state, row.attempt),
            "blob": (await deployment.blobs().get(blob))[:5],
            "histories": [deployment.sql(name, "SELECT data FROM executions") for name in NAMES[1:]],
        }
    finally:
        database.close()


def what_is_there(deployment: Deployment, blob: BlobRef) -> dict[str, object]:
    return asyncio.run(_what_is_there(deployment, blob))


def expected(word: str, *, state: str = "unknown") -> dict[str, object]:
    return {
        "memory": [word],
        "outbox": (state, 1),
        "blob": word.encode(),
        "histories": [[(word.encode(),)]] * 2,
    }


def save(deployment: Deployment, *more: str) -> None:
    done = deployment.run("backup", str(deployment.archive), *more)
    assert done.returncode == 0, done.stderr


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
    save(deployment, "--passphrase-file", str(phrase))
    kept = {path.name: path.read_text() for path in (deployment.folder / "secrets").iterdir()}
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
