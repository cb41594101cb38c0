"""A deployment's data: real PostgreSQL with its own programs, a real S3 server, real archives.

Docker itself is played by a program that runs in place what compose would run in a container; `make test-deploy` does
the same with containers.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from operations.deploy.compose import Compose
from operations.deploy.databases import COMING, LEAVING
from portico.contracts.messages import BlobRef, ConversationRef
from portico.crypto.keyring import open_keyring
from portico.settings.home import Home
from portico.settings.servers import DatabaseSettings
from portico.settings.settings import Settings
from portico.storage.engine.database import Database
from portico.storage.inbox import Inbox
from portico.storage.memory import Memory, MemoryLine
from portico.storage.objects.blobs import BlobStore
from portico.storage.outbox import Outbox
from portico.storage.outbox_rows import NewRow
from tests.portico.servers import connections
from tests.postgres import PostgresServer
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
    os.execve({python!r}, [{python!r}, "-m", "entrypoints.cli.main", *part], dict(os.environ, **{inside!r}))
named = words[words.index("--env-file") + 1] if "--env-file" in words else os.devnull
variables = dict(line.split("=", 1) for line in open(named).read().split())
if "PORTICO_SITE" not in variables:
    sys.exit("required variable PORTICO_SITE is missing a value: run portico deploy init")
if "--services" in words:
    print("postgres s3 temporal worker api caddy")
elif "--format" in words:
    version = variables.get("TEMPORAL_VERSION") or open({temporal!r}).read()
    print(json.dumps({{"services": {{"temporal": {{"image": "temporalio/server:" + version}}}}}}))
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
            (
                sys.executable,
                "-m",
                "entrypoints.cli.main",
                "deploy",
                *arguments,
                "--folder",
                str(self.folder),
            ),
            cwd=CHECKOUT,
            env=kept
            | {"PATH": f"{self.root / 'bin'}:{os.environ['PATH']}", "PORTICO_HOME": str(self.root / "none")},
            capture_output=True,
            text=True,
            timeout=100,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def compose(self, monkeypatch: pytest.MonkeyPatch) -> Compose:
        """For what a test asks of it without a command."""
        monkeypatch.setenv("PATH", f"{self.root / 'bin'}:{os.environ['PATH']}")
        return Compose(self.folder, (CHECKOUT / "compose.yaml",))

    def lose(self) -> Path:
        """The machine is gone with all that was on it; where the test finds its files."""
        kept = self.folder.rename(self.root / "lost")
        self.wipe()
        self.folder.mkdir()
        return kept

    def databases(self) -> set[object]:
        return {name for (name,) in self.sql("postgres", "SELECT datname FROM pg_database")}

    def wipe(self) -> None:
        """As `docker compose down -v`: empty databases, an empty bucket."""
        for name in (COMING, LEAVING):
            self.sql("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
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


def fill(deployment: Deployment, word: str) -> BlobRef:
    for name in NAMES[1:]:
        deployment.sql(name, "CREATE TABLE executions (shard_id int, data bytea)")
        deployment.sql(name, f"INSERT INTO executions VALUES (1, '{word}')")
        deployment.sql(name, "ALTER TABLE executions OWNER TO temporal")

    async def rows() -> BlobRef:
        database = deployment.database()
        ref = ConversationRef(id="c", channel="telegram", account="default", chat="7")
        await Inbox(database).claim("c", ("k",), "before", now=5, text=word, ref=ref)
        await Memory(database).remember("c", "before", [MemoryLine("user", word, 1)])
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
