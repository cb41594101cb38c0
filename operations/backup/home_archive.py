"""What of a home goes into an archive, and how it is read while Portico runs.

Temporal's database first, ours after it: whatever a history says was done is then in our tables too, and what our
tables know of later is recognized as done. Objects are read before and after, so that each one that either
database names is there. Databases are copied by SQLite itself; the copies are as encrypted as what they are of.
"""

from __future__ import annotations

import base64
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from operations.backup.entries import Entry, EntryWriter, in_pieces
from operations.backup.sealed_stream import Lock, SealedWriter, StreamHeader
from portico.crypto.keyring import Keyring
from portico.errors import Misconfigured
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.storage.engine.sqlcipher import connect

OBJECTS = ("s3", "s3-versions")
LEFT_OUT = frozenset(
    {"run", "logs", "backups", "models", "language-models", "pulls", "sandbox", "temporal", *OBJECTS}
)
"""What the next start makes again, what can be fetched again, and what has a place of its own in the archive."""
ALSO_LEFT_OUT = ("portico.db", "portico.lock", "master.key")
REPLACED = "replaced-"
OURS = "user."
"""Attributes of files that a program may set: VersityGW keeps an object's facts there."""

Tell = Callable[[str], None]


def save_home(
    home: Home, keyring: Keyring, out: IO[bytes], *, head: StreamHeader, lock: Lock, master: bytes, tell: Tell
) -> int:
    """Write everything; how many files. Raises `Misconfigured`."""
    sealed = SealedWriter(out, head, lock)
    writer = EntryWriter(sealed)
    seen: set[str] = set()
    for name in OBJECTS:
        _add_tree(writer, home.root, home.root / name, seen)
    tell(f"objects: {writer.count} files")
    with _copies(home) as folder:
        temporal = home.temporal / "temporal.db"
        if temporal.exists():
            _copy_temporal(temporal, folder / "temporal.db")
            size = _add_file(writer, "temporal/temporal.db", folder / "temporal.db")
            tell(f"temporal: {_mib(size)}")
        _copy_database(home, keyring, folder / "portico.db")
        size = _add_file(writer, "portico.db", folder / "portico.db")
        tell(f"database: {_mib(size)}")
    if lock.by == "passphrase":
        writer.add(Entry("master.key"), [base64.b64encode(master)])
    for path in sorted(home.root.iterdir()):
        if _belongs(path):
            _add_tree(writer, home.root, path, seen)
    for name in OBJECTS:
        _add_tree(writer, home.root, home.root / name, seen)
    writer.finish()
    sealed.finish()
    tell(f"{writer.count} files and folders in all")
    return writer.count


def refuse_what_lies_elsewhere(settings: Settings) -> None:
    """A home whose parts are other machines' is no whole. Raises `Misconfigured`."""
    elsewhere = {
        "database.url": settings.database.url is not None,
        "temporal.address": bool(settings.temporal.address),
        "storage.url": bool(settings.storage.url),
    }
    for key, outside in elsewhere.items():
        if outside:
            raise Misconfigured(
                f"{key} names a server outside this home, which this command does not copy; "
                "a compose deployment is saved by `portico deploy backup`, another server by its own tools"
            )


def schema_of(home: Home, keyring: Keyring) -> int:
    """The newest migration of the database. Raises `Misconfigured` where there is none yet."""
    if not home.database.exists():
        raise Misconfigured(f"{home.root} holds no Portico yet: there is nothing to back up")
    with closing(connect(home.database, keyring.current("database"), reading=True)) as connection:
        row = connection.execute("SELECT max(version) AS newest FROM schema_migrations").fetchone()
    return int(row["newest"] or 0)


@contextmanager
def _copies(home: Home) -> Iterator[Path]:
    """A folder for this process, gone at the end; those of processes that were killed go now."""
    for left in home.run.glob("backup-*"):
        if not Path("/proc", left.name.partition("-")[2]).exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = home.run / f"backup-{os.getpid()}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _copy_temporal(source: Path, target: Path) -> None:
    """In one step: a copy in several would begin again at each of the server's writes."""
    target.touch(mode=0o600)
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30)) as there,
            closing(sqlite3.connect(target)) as here,
        ):
            there.backup(here)
            here.execute("PRAGMA journal_mode = DELETE").fetchone()
    except sqlite3.Error as error:
        raise Misconfigured(f"{source} cannot be copied ({error}); stop Portico and try again") from None


def _copy_database(home: Home, keyring: Keyring, target: Path) -> None:
    key = keyring.current("database")
    with (
        closing(connect(home.database, key, reading=True)) as there,
        closing(connect(target, key)) as here,
    ):
        there.backup(here)
        here.execute("PRAGMA journal_mode = DELETE").fetchone()


def _belongs(path: Path) -> bool:
    name = path.name
    return name not in LEFT_OUT and not name.startswith((*ALSO_LEFT_OUT, ".", REPLACED))


def _add_tree(writer: EntryWriter, root: Path, path: Path, seen: set[str]) -> None:
    """What is not in `seen`. A file that goes away meanwhile is not missed: nothing names it any more."""
    name = path.relative_to(root).as_posix()
    if path.is_symlink():
        return
    if path.is_dir():
        if name not in seen:
            seen.add(name)
            writer.add(Entry(name, _mode(path), folder=True, attributes=_attributes(path)))
        for inner in sorted(path.iterdir()):
            _add_tree(writer, root, inner, seen)
    elif path.is_file() and name not in seen:
        try:
            _add_file(writer, name, path)
        except FileNotFoundError:
            return
        seen.add(name)


def _add_file(writer: EntryWriter, name: str, path: Path) -> int:
    with path.open("rb") as file:
        return writer.add(Entry(name, _mode(path), attributes=_attributes(path)), in_pieces(file))


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def _attributes(path: Path) -> dict[str, bytes]:
    return {name: os.getxattr(path, name) for name in os.listxattr(path) if name.startswith(OURS)}


def _mib(size: int) -> str:
    return f"{size / 1024 / 1024:.1f} MiB"
