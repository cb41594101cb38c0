"""Files inside the sandbox. Paths need no guard here: everything that can be named is the guest's own."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HOME = Path("/home/user")
XATTR = "user.e2b."
KINDS = {stat.S_IFREG: "FILE", stat.S_IFDIR: "DIRECTORY", stat.S_IFLNK: "SYMLINK"}


class FileRefused(Exception):
    """Carries the Connect code that says what was wrong."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def resolve(path: str) -> Path:
    if "\0" in path:
        raise FileRefused("invalid_argument", "a path holds no NUL")
    requested = Path(path)
    if path.startswith("~/") or path == "~":
        requested = Path(path[2:])
    return Path(os.path.normpath(HOME / requested))


def entry(path: Path) -> dict[str, Any]:
    """What the protocol calls an EntryInfo."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise FileRefused("not_found", f"path not found: {path}") from None
    described: dict[str, Any] = {
        "name": path.name or "/",
        "type": f"FILE_TYPE_{KINDS.get(stat.S_IFMT(status.st_mode), 'UNSPECIFIED')}",
        "path": str(path),
        "size": str(status.st_size),
        "mode": stat.S_IMODE(status.st_mode),
        "permissions": stat.filemode(status.st_mode),
        "owner": _name(pwd.getpwuid, status.st_uid),
        "group": _name(grp.getgrgid, status.st_gid),
        "modifiedTime": datetime.fromtimestamp(status.st_mtime, UTC).isoformat().replace("+00:00", "Z"),
    }
    if stat.S_ISLNK(status.st_mode):
        described["symlinkTarget"] = os.readlink(path)
    if metadata := read_metadata(path):
        described["metadata"] = metadata
    return described


def _name(look_up: Any, number: int) -> str:
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)


def listed(path: Path, depth: int) -> list[dict[str, Any]]:
    if entry(path)["type"] != "FILE_TYPE_DIRECTORY" and not path.is_dir():
        raise FileRefused("invalid_argument", f"path is not a directory: {path}")
    return [entry(child) for child in _walk(path, max(depth, 1))]


def _walk(path: Path, depth: int) -> Iterator[Path]:
    for child in sorted(path.iterdir()):
        yield child
        if depth > 1 and child.is_dir() and not child.is_symlink():
            yield from _walk(child, depth - 1)


def make_directory(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise FileRefused("already_exists", f"directory already exists: {path}")
    if os.path.lexists(path):
        raise FileRefused("invalid_argument", f"path already exists but is not a directory: {path}")
    path.mkdir(parents=True)
    return entry(path)


def move(source: Path, destination: Path) -> dict[str, Any]:
    entry(source)
    destination.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, destination)
    return entry(destination)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def open_to_read(path: Path) -> int:
    if path.is_dir():
        raise FileRefused("invalid_argument", f"path is a directory: {path}")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise FileRefused("not_found", f"file not found: {path}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileRefused("invalid_argument", f"path is no regular file: {path}")
    return descriptor


def open_to_write(path: Path) -> int:
    if path.is_dir():
        raise FileRefused("invalid_argument", f"path is a directory: {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, 0o644)


def read_metadata(path: Path) -> dict[str, str]:
    with contextlib.suppress(OSError):
        names = [name for name in os.listxattr(path, follow_symlinks=False) if name.startswith(XATTR)]
        return {name.removeprefix(XATTR): os.getxattr(path, name).decode(errors="replace") for name in names}
    return {}


def write_metadata(path: Path, metadata: dict[str, str]) -> None:
    """Replace all of it: an upload without metadata clears what was there."""
    with contextlib.suppress(OSError):
        for name in os.listxattr(path):
            if name.startswith(XATTR):
                os.removexattr(path, name)
    for name, value in metadata.items():
        os.setxattr(path, XATTR + name, value.encode())
