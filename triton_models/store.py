"""Files that are made once and kept: checksums, folders that appear whole, links instead of copies."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CHECKSUMS = "checksums.json"


class DamagedFile(Exception):
    """A file is not what was recorded when it was made or published."""

    def __init__(self, path: Path, *, expected: str, found: str) -> None:
        super().__init__(
            f"{path} has checksum {found[:12]}…, expected {expected[:12]}…; remove it and start again"
        )


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, expected: str) -> None:
    found = checksum(path)
    if found != expected:
        raise DamagedFile(path, expected=expected, found=found)


def key_of(*facts: str | bytes) -> str:
    """One short hash of all facts, each kept apart from the next."""
    digest = hashlib.sha256()
    for fact in facts:
        raw = fact.encode() if isinstance(fact, str) else fact
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()[:24]


def sources(paths: Iterable[Path]) -> str:
    return key_of(*(part for path in paths for part in (path.name, path.read_bytes())))


class Cache:
    """Folders by key. One that is there is whole; a damaged one is made again."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def entry(self, key: str, make: Callable[[Path], None]) -> Path:
        """The folder of `key`, verified; `make` fills a new one when it is missing or damaged."""
        folder = self._root / key
        if _intact(folder):
            return folder
        fresh = fresh_folder(self._root / f"{key}.new")
        make(fresh)
        recorded = {path.name: checksum(path) for path in sorted(fresh.iterdir())}
        (fresh / CHECKSUMS).write_text(json.dumps(recorded, indent=1))
        for path in fresh.iterdir():
            path.chmod(0o444)  # homes link to these files
        publish(fresh, folder)
        return folder


def _intact(folder: Path) -> bool:
    try:
        recorded: dict[str, str] = json.loads((folder / CHECKSUMS).read_text())
        for name, expected in recorded.items():
            verify(folder / name, expected)
    except (OSError, ValueError, DamagedFile):
        return False
    return bool(recorded)


def fresh_folder(path: Path) -> Path:
    """An empty folder beside its target, with the process's id so that two builders do not meet."""
    folder = path.with_name(f"{path.name}-{os.getpid()}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def publish(fresh: Path, target: Path) -> None:
    """Puts a finished folder in its place, whatever was there before."""
    old = target.with_name(f"{target.name}.old-{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def place(source: Path, target: Path) -> None:
    """The same file in another place: a hard link, or a copy where the file system has none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def fingerprints(root: Path) -> dict[str, dict[str, Any]]:
    """Size, time and checksum of every file below `root`."""
    files: dict[str, dict[str, Any]] = {}
    known: dict[int, str] = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        stat = path.stat()
        if stat.st_ino not in known:
            known[stat.st_ino] = checksum(path)
        files[str(path.relative_to(root))] = {
            "sha256": known[stat.st_ino],
            "size": stat.st_size,
            "mtime_ns": stat.st_mtime_ns,
        }
    return files


def untouched(root: Path, files: dict[str, dict[str, Any]]) -> bool:
    """Whether every recorded file has still its size and time. Reads no content: this runs at every start."""
    for name, recorded in files.items():
        try:
            stat = (root / name).stat()
        except OSError:
            return False
        if (stat.st_size, stat.st_mtime_ns) != (recorded["size"], recorded["mtime_ns"]):
            return False
    return True
