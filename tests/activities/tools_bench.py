"""Tools run by the real activity, without a workflow."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from temporalio.testing import ActivityEnvironment

from activities.tools import ToolSteps
from entrypoints.cli.tools.local import GivenSecrets, LocalFiles
from entrypoints.serve.tool_sources import SHIPPED
from portico.contracts.messages import (
    Actor,
    Artifact,
    BlobRef,
    ExecutionResult,
    ToolInvocation,
)
from portico.contracts.steps import ToolCall
from portico.errors import NotFound
from portico.tools.catalog import Catalog
from portico.tools.functions.environments import Environments, Installer
from portico.tools.functions.folders import FunctionsFolder
from portico.tools.functions.pool import Pool
from portico.tools.functions.services import Services
from portico.tools.functions.source import FunctionSource

MISBEHAVING = Path(__file__).with_name("misbehaving")


SECRET = "sk-weather-0123456789"


MEMORY_MIB = 256


class Kept:
    """What runs kept, without S3: the storage has tests of its own."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[str, bytes, str]] = {}
        self.outputs: dict[str, bytes] = {}
        self.published: list[tuple[str, dict[str, Any]]] = []

    async def keep(self, run: str, name: str, data: bytes, media_type: str, *, person_id: str) -> Artifact:
        self.files[f"{run}/{name}"] = (person_id, data, media_type)
        return Artifact(name=name, media_type=media_type, size_bytes=len(data), url=f"/{name}")

    async def keep_output(self, run: str, content: bytes, *, person_id: str) -> BlobRef:
        key = f"blob{len(self.outputs)}"
        self.outputs[key] = content
        return BlobRef(key=key, size_bytes=len(content))

    async def find(self, invocation_id: str, name: str) -> Any:
        if f"{invocation_id}/{name}" not in self.files:
            raise NotFound("the artifact")
        person, data, media_type = self.files[f"{invocation_id}/{name}"]
        return type("Found", (), {"person_id": person, "name": name, "media_type": media_type, "data": data})

    async def content(self, artifact: Any) -> bytes:
        data: bytes = artifact.data
        return data

    def publish(self, topic: str, update: dict[str, Any]) -> None:
        self.published.append((topic, update))


class Bench:
    """The step over real processes of functions."""

    def __init__(self, root: Path) -> None:
        self.kept = Kept()
        self.files = LocalFiles()
        self.pool = Pool(processes=6)
        services = Services(
            workspaces=self.files,
            secrets=GivenSecrets({"weather": SECRET, "other": "x" * 20}),
            artifacts=self.kept,
        )
        folders = (FunctionsFolder(SHIPPED, shipped=True), FunctionsFolder(MISBEHAVING))
        self.source = FunctionSource(
            folders,
            services,
            self.pool,
            environments=lambda ready: Environments(root, lambda: Installer(None, {}), ready=ready),
            memory_bytes=MEMORY_MIB << 20,
        )
        self.catalog = Catalog((self.source,))
        self.steps = ToolSteps(
            self.catalog,
            keep_artifact=self.kept.keep,
            keep_output=self.kept.keep_output,
            publish=self.kept.publish,
        )

    async def start(self) -> None:
        await self.source.start()
        self.catalog.refresh()

    def call(self, tool_name: str, /, **parameters: Any) -> ToolCall:
        spec = self.catalog.spec(tool_name)
        return ToolCall(
            invocation_id="i1",
            invocation=ToolInvocation(tool_name=tool_name, parameters=parameters),
            decision_id="d1",
            actor=Actor(id="p1", role="member", paired=True),
            language="zh",
            content_hash=spec.content_hash if spec else "",
            repeatable=spec.repeatable if spec else False,
        )

    async def run(self, tool_name: str, /, **parameters: Any) -> ExecutionResult:
        return await ActivityEnvironment().run(self.steps.execute, self.call(tool_name, **parameters))


def code(result: ExecutionResult) -> str:
    return result.error.code if result.error else ""


async def gone(pids: list[int]) -> None:
    async with asyncio.timeout(5):
        while any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def processes_with(command: str) -> list[str]:
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text()
        except OSError:
            continue
        if words.startswith(command):
            found.append(pid)
    return found
