"""A real encrypted database for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from portico.crypto.keyring import Keyring, open_keyring
from portico.settings.home import Home
from portico.settings.servers import DatabaseSettings
from portico.settings.settings import Settings
from portico.storage.engine.database import Database
from tests.portico.storage.support import MASTER
from tests.postgres import PostgresServer, running_postgres

EMBEDDED_ONLY = frozenset({"test_database", "test_killed", "test_outbox_races", "test_growth"})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make()
    return home


@pytest.fixture
def keyring(home: Home) -> Keyring:
    return open_keyring(home, MASTER)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repositories do the same on both databases; what the embedded file alone does is tested on it alone."""
    if "db" in metafunc.fixturenames:
        both = metafunc.module.__name__.rpartition(".")[2] not in EMBEDDED_ONLY
        metafunc.parametrize("db", ["embedded", "postgres"] if both else ["embedded"], indirect=True)


@pytest.fixture
def db(request: pytest.FixtureRequest, home: Home, keyring: Keyring) -> Iterator[Database]:
    if request.param == "embedded":
        database = Database.open(home, keyring)
        yield database
        database.close()
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.new_database()
    settings = Settings(database=DatabaseSettings(url=SecretStr(url)))
    database = Database.open(home, keyring, settings)
    yield database
    database.close()
    server.drop(url)
