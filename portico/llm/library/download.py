"""Fetches the files of a model into a folder: resumed where it broke off, checked, never half.

A file is called `NAME.partial` until all of it is there and its checksum fits. `.source.json` remembers what was
asked for, so that a place whose files have changed is not mixed with what was fetched before.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from portico.errors import BadInput, Misconfigured, Unavailable
from portico.llm.library.sources import Source, SourceFile, git_sha1
from portico.settings.table import MIB

PARTIAL = ".partial"
STATE = ".source.json"
TRIES = 4
FIRST_WAIT_S = 0.1
SPARE_BYTES = 64 * MIB

Progress = Callable[[str, int, int], None]
"""File, bytes of the whole model that are there, bytes of the whole model."""


class NoRoom(Misconfigured):
    """The disk is full, or would be; what was fetched is removed."""


async def fetch(source: Source, files: list[SourceFile], folder: Path, progress: Progress) -> dict[str, str]:
    """The SHA-256 of every file. Raises `NoRoom`, `BadInput` for a wrong checksum, or `Unavailable`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _forget_others(folder, files)
    total = sum(file.size for file in files)
    _check_room(folder, files)
    digests: dict[str, str] = {}
    there = 0
    for file in files:
        target = folder / file.path
        if not target.is_file():
            await _fetch(source, file, target, _shifted(progress, file.path, there, total))
        digests[file.path] = _checked(file, target)
        there += file.size
        progress(file.path, there, total)
    return digests


def _shifted(progress: Progress, name: str, there: int, total: int) -> Callable[[int], None]:
    return lambda size: progress(name, there + size, total)


async def _fetch(source: Source, file: SourceFile, target: Path, progress: Callable[[int], None]) -> None:
    """Goes on where it broke off, a few times by itself: servers hang up in the middle of gigabytes."""
    partial = target.with_name(target.name + PARTIAL)
    target.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, TRIES + 1):
        try:
            await _append(source, file, partial, progress)
            break
        except Unavailable:
            if attempt == TRIES:
                raise
            await asyncio.sleep(FIRST_WAIT_S * 2**attempt)
    _checked(file, partial)
    partial.rename(target)


async def _append(source: Source, file: SourceFile, partial: Path, progress: Callable[[int], None]) -> None:
    size = partial.stat().st_size if partial.exists() else 0
    if size > file.size:
        partial.unlink()
        size = 0
    if size == file.size and size:
        return
    async with source.read(file, size) as reading:
        if reading.start not in (0, size):
            raise Unavailable(source.told, f"it sent {file.path} from another byte on than asked")
        with partial.open("ab") as out:
            out.truncate(reading.start)
            size = reading.start
            async for chunk in reading.chunks:
                _write(out.write, chunk)
                size += len(chunk)
                progress(size)
                if size > file.size:
                    break
            _write(lambda _: out.flush(), b"")
    if size > file.size:
        partial.unlink()
        raise BadInput(f"{file.path} is longer than {source.told} said ({file.size} bytes)")
    if size < file.size:
        raise Unavailable(source.told, f"it broke off {file.path} at {size} of {file.size} bytes")


def _write(write: Callable[[bytes], object], chunk: bytes) -> None:
    try:
        write(chunk)
    except OSError as error:
        raise NoRoom(
            f"the model cannot be written: {error.strerror}; what was fetched of it is removed"
        ) from error


def _checked(file: SourceFile, path: Path) -> str:
    """Its SHA-256. One that differs from what was announced is removed."""
    with path.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    wrong = (file.sha256 and found != file.sha256) or (
        file.git_sha1 and git_sha1(path, path.stat().st_size) != file.git_sha1
    )
    if wrong or path.stat().st_size != file.size or not _fits_tag(file, path):
        path.unlink()
        raise BadInput(
            f"{file.path} is not what its place announced (checksum); it was removed, fetch it again"
        )
    return found


def _fits_tag(file: SourceFile, path: Path) -> bool:
    """S3's ETag is the MD5 of what was uploaded in one part; others say nothing."""
    if len(file.tag) != 32 or not all(letter in "0123456789abcdef" for letter in file.tag):
        return True
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == file.tag


def _forget_others(folder: Path, files: list[SourceFile]) -> None:
    """Remove what belongs to files that the place has no more, or has in another version."""
    wanted = {file.path: asdict(file) for file in files}
    try:
        known = json.loads((folder / STATE).read_text())
    except (OSError, ValueError):
        known = {}
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        name = path.relative_to(folder).as_posix().removesuffix(PARTIAL)
        if name not in wanted or known.get(name) != wanted[name]:
            path.unlink()
    (folder / STATE).write_text(json.dumps(wanted))


def _check_room(folder: Path, files: Iterable[SourceFile]) -> None:
    def there(file: SourceFile) -> int:
        paths = (folder / file.path, folder / (file.path + PARTIAL))
        return sum(path.stat().st_size for path in paths if path.is_file())

    need = sum(max(0, file.size - there(file)) for file in files) + SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if need > free:
        raise NoRoom(f"the model needs {need // MIB} MiB more, {folder} has {free // MIB} MiB free")
