"""What functions may ask of the worker while they run: the person's files, declared secrets, artifacts, ways out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from portico.contracts.messages import Artifact
from portico.contracts.steps import ToolCall
from portico.errors import NotFound
from portico.tool import SandboxAccess, ToolFailed, ToolSpec, WorkspaceFile
from portico.tool_types import media_type_of
from portico.tools.catalog import RunningTool
from portico.tools.functions import frames

Grant = Callable[[Sequence[str]], AbstractAsyncContextManager[str]]


class Workspaces(Protocol):
    """`portico.storage.objects.workspace`, or one in memory."""

    async def list(self, person_id: str, prefix: str = "") -> list[WorkspaceFile]: ...

    async def stat(self, person_id: str, path: str) -> WorkspaceFile | None: ...

    async def read(self, person_id: str, path: str) -> bytes: ...

    async def write(self, person_id: str, path: str, data: bytes, media_type: str = "") -> WorkspaceFile: ...

    async def move(self, person_id: str, path: str, to: str) -> WorkspaceFile: ...

    async def delete(self, person_id: str, path: str) -> None: ...


class Secrets(Protocol):
    async def get(self, name: str) -> str | None: ...


class KeptFiles(Protocol):
    """What runs kept: found by run and name, given to who asked for the run."""

    async def find(self, invocation_id: str, name: str) -> Any: ...

    async def content(self, artifact: Any) -> bytes: ...


@dataclass(frozen=True)
class Services:
    """The parts behind it. `sandbox` gives a person access, or says in one line why there is none."""

    workspaces: Workspaces
    secrets: Secrets
    artifacts: KeptFiles | None = None
    sandbox: Callable[[str], SandboxAccess | str] = lambda person_id: "there is no sandbox service here"
    proxy: Grant | None = None


class Asked:
    """Answers what one call asks for. `secrets` holds what was handed out, so that it is kept out of the answer."""

    def __init__(self, services: Services, spec: ToolSpec, call: ToolCall, run: RunningTool) -> None:
        self.secrets: set[str] = set()
        self._services = services
        self._spec = spec
        self._call = call
        self._run = run

    async def answer(self, said: frames.Message, data: bytes) -> tuple[frames.Message, bytes]:
        """Raises a `PorticoError`, whose message the function gets."""
        what = str(said["what"])
        if what.startswith("workspace."):
            return await self._workspace(what.removeprefix("workspace."), said, data)
        if what == "secret":
            return {"value": await self._secret(str(said["name"]))}, b""
        if what == "artifact":
            kept = await self._run.artifact(str(said["name"]), data, str(said["media_type"]))
            return {"artifact": described(self._call.invocation_id, kept)}, b""
        if what == "file":
            return await self._file(str(said["path"]), str(said["artifact"]))
        raise ToolFailed("there is no such service")

    async def _workspace(self, what: str, said: frames.Message, data: bytes) -> tuple[frames.Message, bytes]:
        files, person = self._services.workspaces, self._call.actor.id
        if not person:
            raise ToolFailed("somebody unknown has no workspace")
        if what == "list":
            return {"files": [_plain(one) for one in await files.list(person, str(said["prefix"]))]}, b""
        path = str(said["path"])
        if what == "read":
            return {}, await files.read(person, path)
        if what == "write":
            return {"file": _plain(await files.write(person, path, data, str(said["media_type"])))}, b""
        if what == "move":
            return {"file": _plain(await files.move(person, path, str(said["to"])))}, b""
        if what == "exists":
            return {"exists": await files.stat(person, path) is not None}, b""
        if what == "delete":
            await files.delete(person, path)
            return {}, b""
        raise ToolFailed("there is no such service")

    async def _secret(self, name: str) -> str:
        if name not in self._spec.secrets:
            raise ToolFailed(f"{self._spec.name} does not declare the secret '{name[:64]}'")
        value = await self._services.secrets.get(name)
        if not value:
            raise ToolFailed(f"the secret '{name}' is not there; `portico secrets set {name}` stores it")
        self.secrets.add(value)
        return value

    async def _file(self, path: str, artifact: str) -> tuple[frames.Message, bytes]:
        if path:
            person = self._call.actor.id
            data = await self._services.workspaces.read(person, path)
            found = await self._services.workspaces.stat(person, path)
            media_type = found.media_type if found else media_type_of(path)
            return {"name": path.rpartition("/")[2], "media_type": media_type}, data
        invocation_id, _, name = artifact.partition("/")
        if self._services.artifacts is None:
            raise NotFound("the artifact")
        kept = await self._services.artifacts.find(invocation_id, name)
        if kept.person_id != self._call.actor.id:
            raise NotFound("the artifact")
        content = await self._services.artifacts.content(kept)
        return {"name": kept.name, "media_type": kept.media_type}, content


def described(invocation_id: str, kept: Artifact) -> dict[str, Any]:
    """A file in an answer: by this reference the next tool can take it."""
    return {
        "artifact": f"{invocation_id}/{kept.name}",
        "name": kept.name,
        "mediaType": kept.media_type,
        "sizeBytes": kept.size_bytes,
    }


def _plain(file: WorkspaceFile) -> dict[str, Any]:
    return {
        "path": file.path,
        "size_bytes": file.size_bytes,
        "media_type": file.media_type,
        "modified_at": file.modified_at.isoformat(),
    }
