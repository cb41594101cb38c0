"""A real encrypted database for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from portico.crypto import Keyring, open_keyring
from portico.home import Home
from portico.storage.database import Database
from tests.portico.storage.support import MASTER


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make()
    return home


@pytest.fixture
def keyring(home: Home) -> Keyring:
    return open_keyring(home, MASTER)


@pytest.fixture
def db(home: Home, keyring: Keyring) -> Iterator[Database]:
    database = Database.open(home, keyring)
    yield database
    database.close()
