"""A home with something of everything in it, and `portico backup` and `portico restore` on it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from portico.crypto.keyring import open_keyring
from portico.settings.home import Home
from portico.storage.engine.database import Database
from portico.storage.engine.sqlcipher import connect
from tests.support import CHECKOUT

XATTR = "user.Portico-Test"


PASSPHRASE = "a long passphrase"


@dataclass
class Machine:
    home: Home
    archive: Path

    def run(self, *arguments: str, home: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (sys.executable, "-m", "entrypoints.cli.main", *arguments),
            cwd=CHECKOUT,
            env=self.environment(home) | env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def environment(self, home: Path | None = None) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTICO_")}
        return kept | {"PORTICO_HOME": str(home or self.home.root)}

    def back_up(self, *more: str) -> None:
        done = self.run("backup", str(self.archive), *more)
        assert done.returncode == 0, done.stderr

    @property
    def passphrase(self) -> tuple[str, str]:
        path = self.archive.with_name("passphrase")
        path.write_text(PASSPHRASE + "\n")
        return "--passphrase-file", str(path)


def fill(home: Home, word: str) -> None:
    home.make()
    keyring = open_keyring(home)
    Database.open(home, keyring).close()
    connection = connect(home.database, keyring.current("database"))
    connection.execute(
        "INSERT INTO people (id, role, name, created_at) VALUES (?, 'owner', ?, 1)", (word, word)
    )
    connection.close()
    home.temporal.mkdir()
    histories = sqlite3.connect(home.temporal / "temporal.db")
    histories.execute("PRAGMA journal_mode = WAL")
    histories.execute("CREATE TABLE histories (word TEXT)")
    histories.execute("INSERT INTO histories VALUES (?)", (word,))
    histories.commit()
    histories.close()
    blob = home.blobs / "portico" / "blobs" / word
    blob.parent.mkdir(parents=True)
    blob.write_bytes(os.urandom(5000))
    os.setxattr(blob, XATTR, word.encode())
    os.setxattr(home.blobs / "portico", XATTR, b"bucket")
    (home.intents / "own.yaml").write_text(f"name: {word}\n")
    home.settings.write_text("port = 0\n")
    home.logs.joinpath("x.log").write_text("log")


def facts(home: Home) -> dict[str, object]:
    """What a restore must bring back."""
    keyring = open_keyring(home)
    connection = connect(home.database, keyring.current("database"), reading=True)
    people = [tuple(row) for row in connection.execute("SELECT id, name FROM people")]
    connection.close()
    histories = sqlite3.connect(home.temporal / "temporal.db")
    words = histories.execute("SELECT word FROM histories").fetchall()
    histories.close()
    [blob] = (home.blobs / "portico" / "blobs").iterdir()
    return {
        "people": people,
        "histories": words,
        "blob": (blob.name, blob.read_bytes(), os.getxattr(blob, XATTR)),
        "bucket": os.getxattr(home.blobs / "portico", XATTR),
        "intents": (home.intents / "own.yaml").read_text(),
        "settings": home.settings.read_text(),
        "keys": keyring.keys(),
    }
