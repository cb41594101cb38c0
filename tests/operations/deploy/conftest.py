"""One server of each kind for all; databases, files and the program that plays Docker for each test."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from operations.deploy import secrets
from tests.operations.deploy.support import DOCKER, Deployment
from tests.portico.servers import KEY, SECRET, s3_server
from tests.postgres import PostgresServer, postgres_programs, running_postgres


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
