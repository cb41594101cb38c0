"""Pictures of sandboxes: all that one holds, memory and files, as gVisor writes it down and reads it again.

gVisor writes into a folder that lives in memory; what is kept goes to disk sealed with AES-256-GCM, under a key that
only this process holds: when it ends, or the picture is dropped, nobody can open the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MEMORY = Path("/dev/shm")
CHUNK = 4 * 1024 * 1024
TAG = 16
LOCK = "lock"


class PictureFailed(Exception):
    """No picture could be taken or opened. `full`: because there is no room."""

    def __init__(self, message: str, *, full: bool = False) -> None:
        super().__init__(message)
        self.full = full


@dataclass(frozen=True)
class Sealed:
    """A picture on disk. Its key is here and nowhere else."""

    path: Path
    files: tuple[tuple[str, int], ...]
    size: int
    key: bytes = field(default_factory=lambda: AESGCM.generate_key(256), repr=False)


class Pictures:
    """The service's pictures: open ones in memory for as long as they are used, sealed ones on disk."""

    def __init__(self, state: Path, limit_bytes: int) -> None:
        self._disk = state / "pictures"
        shutil.rmtree(self._disk, ignore_errors=True)  # of a service that ended: their keys are gone
        self._disk.mkdir(mode=0o700)
        name = hashlib.sha256(str(state).encode()).hexdigest()[:16]
        self._open = MEMORY / f"portico-sandbox-{os.getuid()}-{name}"
        self._limit = limit_bytes
        self._kept: dict[Path, int] = {}
        self._lock: IO[bytes] | None = None
        self.missing = self._prepare()  # why pictures cannot be taken here; empty if they can

    def _prepare(self) -> str:
        kind = next((line.split()[2] for line in _mounts() if line.split()[1] == str(MEMORY)), "")
        if kind != "tmpfs":
            return f"{MEMORY} is not kept in memory here"
        shutil.rmtree(self._open, ignore_errors=True)
        _remove_abandoned()
        try:
            self._open.mkdir(mode=0o700)
            self._lock = (self._open / "new-lock").open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            (self._open / "new-lock").rename(self._open / LOCK)
        except OSError as error:
            return f"{self._open} cannot be made: {error.strerror}"
        return ""

    @contextlib.asynccontextmanager
    async def folder(self, size: int) -> AsyncIterator[Path]:
        """A folder in memory with room for that many bytes, gone afterwards."""
        path = self.new_folder(size)
        try:
            yield path
        finally:
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)

    def new_folder(self, size: int) -> Path:
        if self.missing:
            raise PictureFailed(f"sandboxes cannot be paused or copied: {self.missing}")
        path = self._open / secrets.token_hex(8)
        try:
            free = shutil.disk_usage(self._open).free
            if free < size:
                raise PictureFailed(
                    f"a picture needs {size >> 20} MiB in {MEMORY}: {free >> 20} are free", full=True
                )
            path.mkdir(mode=0o700)
        except OSError as error:
            raise PictureFailed(f"pictures cannot be taken here: {error.strerror}") from error
        return path

    async def seal(self, folder: Path) -> Sealed:
        files = tuple(sorted((path.name, path.stat().st_size) for path in folder.iterdir()))
        size = sum(size for _, size in files)
        if sum(self._kept.values()) + size > self._limit:
            raise PictureFailed(
                f"pictures may take {self._limit >> 20} MiB together, and that is taken", full=True
            )
        sealed = Sealed(self._disk / secrets.token_hex(16), files, size)
        self._kept[sealed.path] = size
        try:
            await asyncio.to_thread(_seal, sealed, folder)
        except OSError as error:
            self.drop(sealed)
            raise PictureFailed(f"a picture cannot be kept: {error.strerror}", full=True) from error
        return sealed

    async def unseal(self, sealed: Sealed, folder: Path) -> None:
        try:
            await asyncio.to_thread(_unseal, sealed, folder)
        except (OSError, InvalidTag) as error:
            raise PictureFailed("a picture cannot be opened: its file is damaged or gone") from error

    def drop(self, sealed: Sealed) -> None:
        self._kept.pop(sealed.path, None)
        sealed.path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()
        for folder in (self._open, self._disk):
            shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned() -> None:
    """Files that killed services left in memory: their locks are free."""
    for lock in MEMORY.glob(f"portico-sandbox-{os.getuid()}-*/{LOCK}"):
        with contextlib.suppress(OSError), lock.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)


def _mounts() -> list[str]:
    return Path("/proc/mounts").read_text().splitlines()


def _seal(sealed: Sealed, folder: Path) -> None:
    cipher, number = AESGCM(sealed.key), 0
    descriptor = os.open(sealed.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as out:
        for name, _ in sealed.files:
            with (folder / name).open("rb", buffering=0) as file:
                while chunk := file.read(CHUNK):
                    out.write(cipher.encrypt(number.to_bytes(12, "big"), chunk, name.encode()))
                    number += 1


def _unseal(sealed: Sealed, folder: Path) -> None:
    cipher, number = AESGCM(sealed.key), 0
    with sealed.path.open("rb", buffering=0) as file:
        for name, size in sealed.files:
            with (folder / name).open("wb", buffering=0) as out:
                left = size
                while left:
                    chunk = file.read(min(left, CHUNK) + TAG)
                    plain = cipher.decrypt(number.to_bytes(12, "big"), chunk, name.encode())
                    out.write(plain)
                    left -= len(plain)
                    number += 1
