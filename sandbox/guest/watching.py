"""Events of the files below a folder, as they happen. Runs inside the sandbox only."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sandbox.guest import files

EVENT = struct.Struct("iIII")
CREATE, WRITE, REMOVE, RENAME, CHMOD = 0x100 | 0x80, 0x2, 0x200 | 0x400, 0x40, 0x4
KINDS = {CREATE: "CREATE", WRITE: "WRITE", REMOVE: "REMOVE", RENAME: "RENAME", CHMOD: "CHMOD"}
IS_FOLDER, ONLY_FOLDER, OVERFLOW, IGNORED = 0x40000000, 0x01000000, 0x4000, 0x8000
FOLDERS_LIMIT = 4096
LIBC = ctypes.CDLL(None, use_errno=True)


class Watch:
    """One folder, and with `recursive` those below it, also those made later."""

    def __init__(self, path: Path, *, recursive: bool) -> None:
        if not path.is_dir():
            code = "invalid_argument" if path.exists() else "not_found"
            raise files.FileRefused(code, f"path is not a directory: {path}")
        self._root = path
        self._recursive = recursive
        self._folders: dict[int, Path] = {}
        self._descriptor = _checked(LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._add(path)

    def _add(self, folder: Path) -> None:
        if len(self._folders) >= FOLDERS_LIMIT:
            return
        mask = ONLY_FOLDER | sum(KINDS)
        number = LIBC.inotify_add_watch(self._descriptor, os.fsencode(folder), mask)
        if number < 0:  # it has gone since
            return
        self._folders[number] = folder
        if self._recursive:
            with contextlib.suppress(OSError):
                for child in folder.iterdir():
                    if child.is_dir() and not child.is_symlink():
                        self._add(child)

    async def __aiter__(self) -> AsyncIterator[tuple[str, str]]:
        """Kind and path below the folder."""
        arrived, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_reader(self._descriptor, arrived.set)
        try:
            while self._folders:
                await arrived.wait()
                arrived.clear()
                with contextlib.suppress(BlockingIOError):
                    data = os.read(self._descriptor, 65536)
                    for event in self._told(data):
                        yield event
        finally:
            loop.remove_reader(self._descriptor)
            os.close(self._descriptor)

    def _told(self, data: bytes) -> list[tuple[str, str]]:
        events, at = [], 0
        while at < len(data):
            number, mask, _, length = EVENT.unpack_from(data, at)
            name = os.fsdecode(data[at + EVENT.size : at + EVENT.size + length].rstrip(b"\0"))
            at += EVENT.size + length
            folder = self._folders.get(number)
            if mask & IGNORED:
                self._folders.pop(number, None)
            if folder is None or mask & OVERFLOW:
                continue
            path = folder / name if name else folder
            kind = next((KINDS[bits] for bits in KINDS if mask & bits), None)
            if kind is not None and (name or folder == self._root):
                events.append((kind, str(path.relative_to(self._root))))
            if kind == "CREATE" and mask & IS_FOLDER and self._recursive:
                self._add(path)
                events += self._already_in(path)
        return events

    def _already_in(self, folder: Path) -> list[tuple[str, str]]:
        """What was made in a new folder before it was watched."""
        events = []
        with contextlib.suppress(OSError):
            for child in sorted(folder.rglob("*"))[:FOLDERS_LIMIT]:
                events.append(("CREATE", str(child.relative_to(self._root))))
        return events

    def described(self, name: str) -> dict[str, Any] | None:
        with contextlib.suppress(files.FileRefused, OSError):
            return files.entry(self._root / name)
        return None


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
