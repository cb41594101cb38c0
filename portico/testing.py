"""For tests of functions: run one as Portico would, without any server.

    from portico.testing import run_tool

    def test_dice() -> None:
        assert run_tool(dice, sides=6, count=2).output

`run_tool` checks parameters against the schema, gives the function a context with a workspace in memory, and holds the
answer against what the function declares. What the function raises is raised.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from portico.storage.objects.paths import clean_path, clean_prefix
from portico.tool import File, Person, SandboxAccess, ToolContext, ToolFailed, WorkspaceFile, spec_of
from portico.tool_types import media_type_of
from portico.tools.functions.calls import written

INVOCATION = "tool-test"


class MemoryWorkspace:
    """A workspace that is gone with the test, with the same rules for paths."""

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self._files: dict[str, tuple[bytes, WorkspaceFile]] = {}
        for path, data in (files or {}).items():
            self.write(path, data)

    def list(self, prefix: str = "") -> list[WorkspaceFile]:
        start = _checked(clean_prefix, prefix)
        return [file for path, (_, file) in sorted(self._files.items()) if path.startswith(start)]

    def read(self, path: str) -> bytes:
        return self._found(path)[0]

    def write(self, path: str, data: bytes, media_type: str = "") -> WorkspaceFile:
        path = _checked(clean_path, path)
        if any(one.startswith(path + "/") or path.startswith(one + "/") for one in self._files):
            raise ToolFailed(f"{path}: a name is a file or a folder, not both")
        file = WorkspaceFile(path, len(data), media_type or media_type_of(path), datetime.now(UTC))
        self._files[path] = (bytes(data), file)
        return file

    def move(self, path: str, to: str) -> WorkspaceFile:
        data, file = self._found(path)
        to = _checked(clean_path, to)
        if to in self._files and to != file.path:
            raise ToolFailed(f"there is a file {to} already")
        del self._files[file.path]
        return self.write(to, data, file.media_type)

    def delete(self, path: str) -> None:
        del self._files[self._found(path)[1].path]

    def exists(self, path: str) -> bool:
        return _checked(clean_path, path) in self._files

    def _found(self, path: str) -> tuple[bytes, WorkspaceFile]:
        path = _checked(clean_path, path)
        if path not in self._files:
            raise ToolFailed(f"the file {path} was not found")
        return self._files[path]


@dataclass
class FakeContext:
    """What a test gives a function, and what it finds there afterwards."""

    workspace: MemoryWorkspace = field(default_factory=MemoryWorkspace)
    secrets: Mapping[str, str] = field(default_factory=dict)
    person: Person = field(default_factory=lambda: Person("person-test", "member"))
    language: str = "en"
    proxy_url: str = ""
    sandbox: SandboxAccess | None = None
    artifacts: dict[str, File] = field(default_factory=dict)
    """What it kept, by name; also files that were in its answer."""
    progress: list[tuple[str, float | None]] = field(default_factory=list)

    def context(self, scratch: Path) -> ToolContext:
        return ToolContext(
            invocation_id=INVOCATION,
            person=self.person,
            language=self.language,
            report=lambda text, fraction: self.progress.append((text, fraction)),
            workspace=self.workspace,
            scratch=scratch,
            proxy_url=self.proxy_url,
            sandbox=self.sandbox,
            secrets=self._secret,
            keep=self._keep,
        )

    def find(self, *, path: str = "", artifact: str = "") -> File:
        """A file parameter: a path in the workspace, or `INVOCATION/NAME` of what was kept."""
        if path:
            return File(path.rpartition("/")[2], self.workspace.read(path))
        name = artifact.partition("/")[2]
        if name not in self.artifacts:
            raise ToolFailed("the artifact was not found")
        return self.artifacts[name]

    def keep_file(self, value: Any) -> dict[str, Any]:
        if not isinstance(value, File):
            raise ValueError(f"a {type(value).__name__}")
        self._keep(value.name, value.data, value.media_type)
        return {
            "artifact": f"{INVOCATION}/{value.name}",
            "name": value.name,
            "mediaType": value.media_type,
            "sizeBytes": len(value.data),
        }

    def _keep(self, name: str, data: bytes, media_type: str) -> None:
        self.artifacts[name] = File(name, data, media_type)

    def _secret(self, name: str) -> str:
        if name not in self.secrets:
            raise ToolFailed(f"the secret '{name}' is not there; give it to FakeContext(secrets=…)")
        return self.secrets[name]


@dataclass(frozen=True)
class Ran:
    """How a call went. `output` is as JSON has it."""

    output: Any
    artifacts: Mapping[str, File]
    progress: tuple[tuple[str, float | None], ...]


def run_tool(function: Callable[..., Any], fake: FakeContext | None = None, /, **parameters: Any) -> Ran:
    """Call a function with `@tool`. Raises `BadParameters`, whatever it raises, or that its answer does not fit."""
    fake = fake or FakeContext()
    spec = spec_of(function)
    arguments = spec.validate(parameters, files=fake.find)
    with tempfile.TemporaryDirectory(prefix="portico-tool-") as scratch:
        if spec.context_parameter:
            arguments[spec.context_parameter] = _declared_only(spec.secrets, fake, Path(scratch))
        output = function(**arguments)
        if spec.is_async:
            output = asyncio.run(output)
        answer = written(spec, output, keep=fake.keep_file)
    return Ran(answer, fake.artifacts, tuple(fake.progress))


def _declared_only(declared: tuple[str, ...], fake: FakeContext, scratch: Path) -> ToolContext:
    for name in fake.secrets:
        if name not in declared:
            raise ToolFailed(f"the function does not declare the secret '{name}'")
    return fake.context(scratch)


def _checked(check: Callable[[str], str], path: str) -> str:
    try:
        return check(path)
    except ValueError as error:
        raise ToolFailed(str(error)) from None
