"""Puts an archive's files in the place of a home's.

The archive is unpacked next to the existing home; only when it is whole, its keys open and its database is ready, a
journal is written and the two change places. A start that finds the journal says so and starts nothing; the same
command, given again, ends what was begun, from wherever it was stopped.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from operations.backup.entries import Entry, read_entries
from operations.backup.home_archive import ALSO_LEFT_OUT, LEFT_OUT, OBJECTS, REPLACED, Tell
from operations.backup.sealed_stream import BadArchive, Lock, StreamHeader, opened, read_head
from portico.crypto.keyring import master_key_from_environment, open_keyring
from portico.errors import Conflict
from portico.private_files import sync_folder, write_private
from portico.settings.home import Home
from portico.storage.engine.migrate import known_migrations
from portico.storage.engine.restored import mark_restored_file
from portico.version import is_newer, temporal_version

STAGING = ".restoring"
STAYS = LEFT_OUT - {"temporal", *OBJECTS}
"""What no archive holds and no restore takes away."""


@dataclass(frozen=True)
class Journal:
    """`phase`: `away` while the old files leave, `in` while the new ones take their place."""

    phase: str
    replaced: str


def check_archive(archive: Path, lock: Lock, *, kind: str, temporal: str) -> tuple[StreamHeader, int]:
    """Read all of it. Raises `BadArchive`; nothing is changed."""
    with archive.open("rb") as file:
        head = read_head(file)
        if head.kind != kind:
            command = "portico deploy restore" if head.kind == "compose" else "portico restore"
            raise BadArchive(f"the archive is of another way of running ({head.kind}): use `{command}`")
        refuse_newer(head, temporal)
        file.seek(0)
        count = 0
        for _, content in read_entries(opened(file, lock)):
            count += 1
            for _ in content:
                pass
    return head, count


def refuse_newer(head: StreamHeader, temporal: str) -> None:
    """`temporal`: the version here; empty where it is not known. Raises `BadArchive`."""
    newest = known_migrations()[-1].version
    if head.schema > newest:
        raise BadArchive(
            f"the archive is from a newer version ({head.version}, schema {head.schema}; known here: {newest}); "
            "restore it with that version"
        )
    if is_newer(head.temporal, temporal):
        raise BadArchive(
            f"the archive's histories are of a newer Temporal ({head.temporal}; here is {temporal}); restore it with "
            f"Portico {head.version}"
        )


def restore_home(
    home: Home, archive: Path, lock: Lock, *, replace: bool, master: bytes | None, tell: Tell
) -> Path | None:
    """Where the former home is now, if there was one. Raises `BadArchive`, `Misconfigured` or `Conflict`."""
    head, count = check_archive(archive, lock, kind="embedded", temporal=temporal_version())
    tell(f"the archive is whole: {count} files and folders, made {_when(head.made_at)} by {head.version}")
    journal = _read_journal(home)
    if journal is None and not replace and _holds_something(home):
        raise Conflict(
            f"{home.root} holds a Portico already; --replace puts the archive in its place and keeps what is "
            f"there in a folder {REPLACED}…"
        )
    staging = home.root / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    _unpack(archive, lock, staging)
    _make_ready(Home(staging), head, master)
    tell("unpacked, and the keys open it")
    if journal is None:
        journal = Journal("away", time.strftime(f"{REPLACED}%Y%m%dT%H%M%S", time.gmtime()))
    replaced = _exchange(home, staging, journal)
    tell("everything is in its place")
    return replaced


def where_it_lies(home: Home, path: Path) -> Path:
    """A file that the command names, for the same command given again: a restore that was broken off may have put it
    away with everything else of the home."""
    journal = _read_journal(home)
    if journal is None or path.exists() or not path.absolute().is_relative_to(home.root):
        return path
    away = home.root / journal.replaced / path.absolute().relative_to(home.root)
    return away if away.exists() else path


def _unpack(archive: Path, lock: Lock, target: Path) -> None:
    target.mkdir(mode=0o700)
    with archive.open("rb") as file:
        for entry, content in read_entries(opened(file, lock)):
            _write(target, entry, content)


def _write(target: Path, entry: Entry, content: Iterator[bytes]) -> None:
    path = target / entry.name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if entry.folder:
        for _ in content:
            pass
        path.mkdir(mode=0o700, exist_ok=True)
    else:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for piece in content:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    for name, value in entry.attributes.items():
        os.setxattr(path, name, value)
    path.chmod(entry.mode)


def _make_ready(staged: Home, head: StreamHeader, master: bytes | None) -> None:
    """The keys have to open before anything changes its place; replies that were on their way are marked."""
    keyring = open_keyring(staged, master)
    if master is not None and master_key_from_environment() is None:
        write_private(staged.master_key, base64.b64encode(master))
    mark_restored_file(staged, keyring, made_at=head.made_at, now=time.time())
    shutil.rmtree(staged.backups, ignore_errors=True)
    for left in ("portico.lock", "portico.db-wal", "portico.db-shm"):
        (staged.root / left).unlink(missing_ok=True)


def _exchange(home: Home, staging: Path, journal: Journal) -> Path | None:
    """May be stopped anywhere: what is still here in phase `away` is old, in phase `in` it is new."""
    replaced = home.root / journal.replaced
    if journal.phase == "away":
        _write_journal(home, journal)
        replaced.mkdir(mode=0o700, exist_ok=True)
        for path in _here(home, journal):
            path.rename(replaced / path.name)
        journal = Journal("in", journal.replaced)
        _write_journal(home, journal)
    else:
        for path in _here(home, journal):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in sorted(staging.iterdir()):
        path.rename(home.root / path.name)
    staging.rmdir()
    sync_folder(home.root)
    home.unfinished_restore.unlink()
    if not any(replaced.iterdir()):
        replaced.rmdir()
        return None
    return replaced


def _here(home: Home, journal: Journal) -> list[Path]:
    kept = STAYS | {STAGING, journal.replaced, home.unfinished_restore.name}
    return [
        path
        for path in sorted(home.root.iterdir())
        if path.name not in kept and not path.name.startswith(REPLACED)
    ]


def _holds_something(home: Home) -> bool:
    """Empty folders that every command makes, and a master key put there to open the archive, are nothing."""
    if not home.root.exists():
        return False
    found = (path for path in home.root.iterdir() if path.name not in STAYS | {"master.key", STAGING})
    return any(any(path.iterdir()) if path.is_dir() else path.name not in ALSO_LEFT_OUT[1:] for path in found)


def _read_journal(home: Home) -> Journal | None:
    try:
        return Journal(**json.loads(home.unfinished_restore.read_bytes()))
    except FileNotFoundError:
        return None


def _write_journal(home: Home, journal: Journal) -> None:
    sync_folder(home.root)
    write_private(home.unfinished_restore, json.dumps(vars(journal)).encode())


def _when(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment))
