"""A workspace in memory, for the tests of the shipped tools."""

from __future__ import annotations

from datetime import UTC, datetime

from portico.tool import ToolFailed, WorkspaceFile
from portico.tool_types import media_type_of


class MemoryWorkspace:
    """Holds files by path, as the person's own does."""

    def __init__(self, **files: bytes) -> None:
        self.files: dict[str, bytes] = dict(files)

    def list(self, prefix: str = "") -> list[WorkspaceFile]:
        return [self._described(path) for path in sorted(self.files) if path.startswith(prefix)]

    def read(self, path: str) -> bytes:
        self._must_be_there(path)
        return self.files[path]

    def write(self, path: str, data: bytes, media_type: str = "") -> WorkspaceFile:
        if path.startswith("/") or ".." in path.split("/"):
            raise ToolFailed(f"{path} leads out of the workspace")
        self.files[path] = data
        return self._described(path)

    def move(self, path: str, to: str) -> WorkspaceFile:
        self._must_be_there(path)
        self.files[to] = self.files.pop(path)
        return self._described(to)

    def delete(self, path: str) -> None:
        self._must_be_there(path)
        del self.files[path]

    def exists(self, path: str) -> bool:
        return path in self.files

    def _must_be_there(self, path: str) -> None:
        if path not in self.files:
            raise ToolFailed(f"no such file: {path}")

    def _described(self, path: str) -> WorkspaceFile:
        return WorkspaceFile(path, len(self.files[path]), media_type_of(path), datetime.now(UTC))
