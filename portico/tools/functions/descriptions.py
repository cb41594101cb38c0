"""Remembers what was declared in function files, so that a start does not have to load each of them again."""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path

from portico.private_files import write_private
from portico.tools.functions import frames
from portico.tools.functions.folders import ToolFile

READERS = ("tool.py", "tool_types.py", "tools/functions/modules.py")
"""What reads a declaration: changed, it may read another thing out of the same file."""


class Descriptions:
    """One file; what does not fit any more is described again."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, frames.Message] | None = None
        self._reader = _reader()

    def find(self, file: ToolFile) -> frames.Message | None:
        """The cached declarations, if the file and all that it imports are unchanged."""
        if self._known is None:
            self._known = self._load()
        known = self._known.get(self._key(file))
        if known is None or not all(_digest(path) == digest for path, digest in known["beside"].items()):
            return None
        return known

    def keep(self, described: list[tuple[ToolFile, frames.Message]]) -> None:
        known = self._load() if self._known is None else self._known
        gone = {str(file.path) for file, _ in described}
        known = {key: one for key, one in known.items() if one["path"] not in gone}
        for file, answer in described:
            if not any(
                spec.get("unavailable") for spec in answer.get("specs", ())
            ):  # it may be fixed meanwhile
                known[self._key(file)] = {**answer, "path": str(file.path)}
        self._known = known
        if self._path is not None and described:
            write_private(self._path, json.dumps(known).encode())

    def _key(self, file: ToolFile) -> str:
        exact = "\n".join((str(file.path), file.digest, file.environment_digest, self._reader))
        return hashlib.sha256(exact.encode()).hexdigest()

    def _load(self) -> dict[str, frames.Message]:
        try:
            content = json.loads(self._path.read_bytes()) if self._path is not None else {}
        except (OSError, ValueError):
            return {}
        whole = isinstance(content, dict) and all(
            isinstance(one, dict) and {"path", "beside", "specs", "digest"} <= set(one)
            for one in content.values()
        )
        return content if whole else {}


def _reader() -> str:
    folder = Path(__file__).parents[2]
    written = b"".join((folder / name).read_bytes() for name in READERS)
    return hashlib.sha256(written + f"{sys.version} {version('pydantic')}".encode()).hexdigest()


def _digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""
