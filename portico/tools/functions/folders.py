"""Folders of function files: which files there are, and which of them have changed since the last look."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from portico.tools.functions.header import BadFile, Outline, read_outline

MOST_FILES = 500
Stamp = tuple[int, int]


@dataclass(frozen=True)
class FunctionsFolder:
    path: Path
    shipped: bool = False


@dataclass(frozen=True)
class ToolFile:
    """One file as found. `problem` says why it declares no tools."""

    path: Path
    shipped: bool
    digest: str
    outline: Outline = field(default_factory=Outline)
    lock: bytes | None = None
    problem: str = ""

    @property
    def environment_digest(self) -> str:
        """Empty where it runs in Portico's own environment."""
        if self.outline.dependencies is None:
            return ""
        return requirements_digest(self.outline.dependencies, self.lock)

    def content_hash(self, beside: Mapping[str, str]) -> str:
        """Over the file, the modules next to it that it imports (path to digest) and its packages."""
        folder = self.path.parent
        files = sorted((os.path.relpath(path, folder), digest) for path, digest in beside.items())
        exact = json.dumps([self.digest, files, self.environment_digest], separators=(",", ":"))
        return hashlib.sha256(exact.encode()).hexdigest()


def requirements_digest(dependencies: Sequence[str], lock: bytes | None) -> str:
    exact = json.dumps([sorted(dependencies), hashlib.sha256(lock or b"").hexdigest() if lock else ""])
    return hashlib.sha256(exact.encode()).hexdigest()[:16]


@dataclass
class Folders:
    """Looks again and again; reads a file only when its time or size has changed."""

    folders: Sequence[FunctionsFolder]
    _files: dict[Path, ToolFile] = field(default_factory=dict)
    _stamps: dict[Path, tuple[Stamp, Stamp | None]] = field(default_factory=dict)

    def look(self) -> dict[Path, ToolFile]:
        """Every file with tools or with a problem, in the order of the folders."""
        there: dict[Path, ToolFile] = {}
        for folder in self.folders:
            for path in _python_files(folder.path):
                found = self._read(path, folder)
                if found is not None and (found.outline.tools or found.problem):
                    there[path] = found
        for gone in set(self._files) - set(there):
            if not gone.exists():
                del self._files[gone], self._stamps[gone]
        return there

    def _read(self, path: Path, folder: FunctionsFolder) -> ToolFile | None:
        lock = path.with_suffix(".lock")
        own = _stamp(path)
        if own is None:
            return None
        stamps = (own, _stamp(lock))
        if self._stamps.get(path) != stamps:
            self._files[path] = _read_file(path, lock, shipped=folder.shipped)
            self._stamps[path] = stamps
        return self._files[path]


def beside_stamps(paths: Sequence[str]) -> dict[str, Stamp | None]:
    return {path: _stamp(Path(path)) for path in paths}


def _python_files(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    chosen = [
        name
        for name in names
        if name.endswith(".py") and name[0] not in "_." and not name.startswith("test_")
    ]
    return [folder / name for name in chosen[:MOST_FILES]]


def _stamp(path: Path) -> Stamp | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size


def _read_file(path: Path, lock: Path, *, shipped: bool) -> ToolFile:
    try:
        content = path.read_bytes()
        locked = lock.read_bytes() if lock.exists() else None
    except OSError as error:
        return ToolFile(path, shipped, "", problem=f"{path}: cannot be read ({error.strerror})")
    digest = hashlib.sha256(content).hexdigest()
    try:
        outline = read_outline(str(path), content)
    except BadFile as error:
        return ToolFile(path, shipped, digest, problem=str(error))
    return ToolFile(path, shipped, digest, outline, lock=locked)
