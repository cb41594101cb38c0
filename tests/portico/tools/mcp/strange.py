"""A scripted MCP server that does as it is told, and a source that watches it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from portico.contracts.messages import Actor, Artifact, ToolInvocation
from portico.contracts.steps import ToolCall
from portico.storage.mcp_pins import McpPins
from portico.tool import ToolSpec
from portico.tools.catalog import RunningTool
from portico.tools.mcp.source import McpSource

SERVER = Path(__file__).parents[3] / "fakes" / "mcp_server.py"


WITHIN_S = 20


ECHO = {"echo": "Says it again."}


class Strange:
    """A server's state, which it reads anew for every question."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "state.json"
        self.offer(**ECHO)

    @property
    def command(self) -> list[str]:
        return [sys.executable, str(SERVER), str(self.path)]

    def offer(self, *, token: str = "", **tools: str) -> None:
        temporary = self.path.with_suffix(".new")
        temporary.write_text(json.dumps({"tools": tools, "token": token}))
        temporary.replace(self.path)

    def calls(self) -> list[str]:
        path = self.path.with_suffix(".calls")
        return path.read_text().splitlines() if path.exists() else []


class Kept(RunningTool):
    """A call that keeps what it is given."""

    def __init__(self) -> None:
        self.said: list[tuple[str, float | None]] = []
        self.files: dict[str, tuple[bytes, str]] = {}
        super().__init__(lambda text, fraction: self.said.append((text, fraction)), self._keep)

    async def _keep(self, name: str, data: bytes, media_type: str) -> Artifact:
        self.files[name] = (data, media_type)
        return Artifact(name=name, media_type=media_type, size_bytes=len(data), url="")


class Running:
    """A source that is watched, as the worker's catalog does it."""

    def __init__(self, source: McpSource, pins: McpPins) -> None:
        self.source = source
        self.pins = pins
        self._changed = asyncio.Event()

    async def watch(self) -> None:
        await self.source.watch(self._changed.set)

    async def until(self, true: Callable[[], Any]) -> Any:
        async with asyncio.timeout(WITHIN_S):
            while not (found := true()):
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await self._changed.wait()
        return found

    def spec(self, name: str) -> ToolSpec | None:
        return next((spec for spec in self.source.specs() if spec.name == name), None)

    async def ready(self, name: str) -> ToolSpec:
        def there() -> ToolSpec | None:
            spec = self.spec(name)
            return spec if spec and not spec.unavailable else None

        found: ToolSpec = await self.until(there)
        return found

    async def gone(self, name: str, why: str) -> ToolSpec:
        def away() -> ToolSpec | None:
            spec = self.spec(name)
            return spec if spec and why in spec.unavailable else None

        found: ToolSpec = await self.until(away)
        return found

    async def call(self, name: str, text: str = "", run: Kept | None = None) -> Any:
        spec = self.spec(name)
        assert spec is not None
        invocation = ToolInvocation(tool_name=name, parameters={"text": text})
        call = ToolCall(invocation_id="i1", invocation=invocation, decision_id="d1", actor=Actor(id="p1"))
        return await self.source.execute(spec, call, run or Kept())


Start = Callable[..., Running]


@contextlib.contextmanager
def http_server(strange: Strange, port: int) -> Iterator[str]:
    process = subprocess.Popen([*strange.command, str(port)])
    try:
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()
