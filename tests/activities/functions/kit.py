"""The shipped tools as the gateway runs them: in the environment that they ask for, in a process of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from entrypoints.serve.tool_sources import SHIPPED, environments
from portico.contracts.messages import Actor, Artifact, ToolInvocation
from portico.contracts.steps import ToolCall
from portico.tool import ToolFailed, ToolSpec, WorkspaceFile
from portico.tools.catalog import RunningTool
from portico.tools.functions.folders import FunctionsFolder
from portico.tools.functions.pool import Pool
from portico.tools.functions.services import Grant, Services
from portico.tools.functions.source import FunctionSource
from tests.activities.functions.memory_workspace import MemoryWorkspace

BUILD_S = 150


class Workspaces:
    """Of each person one, in memory."""

    def __init__(self) -> None:
        self.of: dict[str, MemoryWorkspace] = {}

    def _own(self, person_id: str) -> MemoryWorkspace:
        return self.of.setdefault(person_id, MemoryWorkspace())

    async def list(self, person_id: str, prefix: str = "") -> list[WorkspaceFile]:
        return self._own(person_id).list(prefix)

    async def stat(self, person_id: str, path: str) -> WorkspaceFile | None:
        return next((one for one in self._own(person_id).list(path) if one.path == path), None)

    async def read(self, person_id: str, path: str) -> bytes:
        return self._own(person_id).read(path)

    async def write(self, person_id: str, path: str, data: bytes, media_type: str = "") -> WorkspaceFile:
        return self._own(person_id).write(path, data, media_type)

    async def move(self, person_id: str, path: str, to: str) -> WorkspaceFile:
        return self._own(person_id).move(path, to)

    async def delete(self, person_id: str, path: str) -> None:
        self._own(person_id).delete(path)


class NoSecrets:
    async def get(self, name: str) -> str | None:
        return None


@dataclass
class Tools:
    """Calls tools for one person and keeps what came of it."""

    source: FunctionSource
    workspaces: Workspaces
    hosts: tuple[str, ...] = ()
    person: str = "p1"
    told: list[str] = field(default_factory=list)
    artifacts: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    run: RunningTool | None = None

    @property
    def files(self) -> dict[str, bytes]:
        return self.workspaces._own(self.person).files

    async def spec(self, name: str) -> ToolSpec:
        """The tool, once its packages are there."""
        async with asyncio.timeout(BUILD_S):
            while True:
                found = next((spec for spec in self.source.specs() if spec.name == name), None)
                if found is not None and not found.unavailable:
                    return found
                assert not self.source.problems(), self.source.problems()
                assert found is None or "could not" not in found.unavailable, found
                await asyncio.sleep(0.1)

    async def __call__(self, name: str, **parameters: Any) -> Any:
        """Raises the `ToolError` that the tool ended with."""
        spec = await self.spec(name)
        call = ToolCall(
            invocation_id="i1",
            invocation=ToolInvocation(tool_name=name, parameters=parameters),
            decision_id="d1",
            actor=Actor(id=self.person, role="member", paired=True),
            content_hash=spec.content_hash,
            network=self.hosts,
        )
        self.run = RunningTool(lambda text, _: self.told.append(text), self._keep)
        return await self.source.execute(spec, call, self.run)

    async def fails(self, name: str, **parameters: Any) -> str:
        """What is said where it does not work."""
        try:
            done = await self(name, **parameters)
        except ToolFailed as failed:
            return failed.message
        except Exception as error:  # noqa: BLE001 - the test shows which
            message = getattr(error, "message", None)
            assert message, error
            return str(message)
        raise AssertionError(f"it worked: {done}")

    async def _keep(self, name: str, data: bytes, media_type: str) -> Artifact:
        self.artifacts[name] = (data, media_type)
        return Artifact(name=name, media_type=media_type, size_bytes=len(data), url="")


@asynccontextmanager
async def shipped_tools(*, proxy: Grant | None = None) -> AsyncIterator[Tools]:
    """Every tool of the checkout. Environments are made once and kept in the user's cache."""
    workspaces = Workspaces()
    source = FunctionSource(
        [FunctionsFolder(SHIPPED, shipped=True)],
        Services(workspaces, NoSecrets(), proxy=proxy),
        Pool(),
        environments=environments,
    )
    await source.start()
    watching = asyncio.create_task(source.watch(lambda: None))
    try:
        yield Tools(source, workspaces)
    finally:
        watching.cancel()
        await source.close()
