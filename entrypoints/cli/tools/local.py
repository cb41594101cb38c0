"""Tools without a gateway: what the folders hold, and one call in a process of its own, for who writes a function."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from entrypoints.serve.tool_sources import make_functions
from portico.contracts.messages import Actor, Artifact, ToolInvocation
from portico.contracts.steps import ToolCall
from portico.errors import NotFound, PorticoError
from portico.settings.home import Home
from portico.settings.load import load_settings
from portico.testing import MemoryWorkspace
from portico.tool import ToolSpec, WorkspaceFile
from portico.tools.catalog import Catalog, RunningTool
from portico.tools.functions.services import Services
from portico.tools.functions.source import FunctionSource

BUILD_S = 600.0


@dataclass(frozen=True)
class Local:
    """What the folders hold now."""

    specs: tuple[ToolSpec, ...]
    problems: tuple[str, ...]


class LocalFiles:
    """A workspace in memory, as the worker has them."""

    def __init__(self) -> None:
        self._files = MemoryWorkspace()

    async def list(self, person_id: str, prefix: str = "") -> list[WorkspaceFile]:
        return self._files.list(prefix)

    async def stat(self, person_id: str, path: str) -> WorkspaceFile | None:
        return next((file for file in self._files.list() if file.path == path), None)

    async def read(self, person_id: str, path: str) -> bytes:
        return self._files.read(path)

    async def write(self, person_id: str, path: str, data: bytes, media_type: str = "") -> WorkspaceFile:
        return self._files.write(path, data, media_type)

    async def move(self, person_id: str, path: str, to: str) -> WorkspaceFile:
        return self._files.move(path, to)

    async def delete(self, person_id: str, path: str) -> None:
        self._files.delete(path)


class GivenSecrets:
    def __init__(self, given: Mapping[str, str]) -> None:
        self._given = given

    async def get(self, name: str) -> str | None:
        return self._given.get(name)


def look() -> Local:
    """Describe every file, each in a process of its own."""

    async def run() -> Local:
        source = _source({})
        try:
            await source.start()
            catalog = Catalog((source,))
            return Local(catalog.specs(), catalog.problems())
        finally:
            await source.close()

    return asyncio.run(run())


def run_here(
    name: str, parameters: Mapping[str, Any], *, given: Mapping[str, str], save: Path | None, say: Any
) -> JsonValue:
    """One call, without policy and record. Raises what the function raised, as a `PorticoError`."""

    async def run() -> JsonValue:
        source = _source(given)
        try:
            await source.start()
            spec = await _ready(source, name, say)
            call = ToolCall(
                invocation_id=f"tool-local-{secrets.token_hex(4)}",
                invocation=ToolInvocation(tool_name=name, parameters=dict(parameters)),
                decision_id="",
                actor=Actor(id="local", role="owner", paired=True),
            )
            running = RunningTool(lambda text, fraction: say(text), _keeper(save, say))
            return await source.execute(spec, call, running)
        finally:
            await source.close()

    return asyncio.run(run())


async def _ready(source: FunctionSource, name: str, say: Any) -> ToolSpec:
    """The tool, once its packages are there."""
    said = False
    async with asyncio.timeout(BUILD_S):
        while True:
            catalog = Catalog((source,))
            spec = catalog.spec(name)
            if spec is None:
                problems = "".join(f"\n{one}" for one in catalog.problems())
                raise NotFound(f"the tool '{name}'{problems}")
            if "are being installed" not in spec.unavailable:
                return spec
            if not said:
                say(spec.unavailable)
                said = True
            await asyncio.sleep(0.3)
            await source.start()


def _source(given: Mapping[str, str]) -> FunctionSource:
    home = Home.from_environment()
    services = Services(workspaces=LocalFiles(), secrets=GivenSecrets(given))
    return make_functions(load_settings(home), home, services)


def _keeper(save: Path | None, say: Any) -> Any:
    async def keep(name: str, data: bytes, media_type: str) -> Artifact:
        short = Path(name).name
        if save is not None:
            try:
                save.mkdir(parents=True, exist_ok=True)
                (save / short).write_bytes(data)
            except OSError as error:
                raise PorticoError(f"{save / short} cannot be written: {error.strerror}") from None
        say(f"{short}: {len(data)} bytes, {media_type}")
        return Artifact(name=short, media_type=media_type, size_bytes=len(data), url="")

    return keep
