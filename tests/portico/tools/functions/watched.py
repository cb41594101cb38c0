"""A folder of functions that is watched as the worker does it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from entrypoints.cli.tools.local import GivenSecrets, LocalFiles
from portico.contracts.messages import Actor, Artifact, ToolInvocation
from portico.contracts.steps import ToolCall
from portico.tool import ToolSpec
from portico.tools.catalog import Catalog, RunningTool
from portico.tools.functions.environments import Environments, Installer
from portico.tools.functions.folders import FunctionsFolder
from portico.tools.functions.pool import Pool
from portico.tools.functions.services import Services
from portico.tools.functions.source import FunctionSource

LIVE_WITHIN_S = 2.0


HELLO = '''
from portico.tool import tool

@tool(effects="none", risk="low")
def {name}() -> str:
    """Says {word}."""
    return "{word}"
'''


GOOD = HELLO.format(name="f", word="x")


class Watched:
    """A catalog over folders, watched as in the worker."""

    def __init__(self, *folders: FunctionsFolder, root: Path, uv: Installer | None = None) -> None:
        services = Services(workspaces=LocalFiles(), secrets=GivenSecrets({}))
        self.pool = Pool(processes=4, idle_s=0.4)
        self.source = FunctionSource(
            folders,
            services,
            self.pool,
            environments=lambda ready: Environments(root, lambda: uv or Installer(None, {}), ready=ready),
        )
        self.catalog = Catalog((self.source,), reserved=("deliver",))

    async def until(self, found: Callable[[], Any], *, within_s: float = 8.0) -> Any:
        async with asyncio.timeout(within_s):
            while not (value := found()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return value

    async def run(
        self, spec: ToolSpec, *, report: Callable[..., None] = lambda text, fraction: None, **parameters: Any
    ) -> Any:
        call = ToolCall(
            invocation_id="i1",
            invocation=ToolInvocation(tool_name=spec.name, parameters=parameters),
            decision_id="d1",
            actor=Actor(id="p1", role="member"),
            content_hash=spec.content_hash,
        )
        return await self.source.execute(spec, call, RunningTool(report, _keep))


async def _keep(name: str, data: bytes, media_type: str) -> Artifact:
    return Artifact(name=name, media_type=media_type, size_bytes=len(data), url="")


@asynccontextmanager
async def watched(
    tmp_path: Path, *more: FunctionsFolder, uv: Installer | None = None
) -> AsyncIterator[Watched]:
    folder = FunctionsFolder(tmp_path / "functions")
    folder.path.mkdir(exist_ok=True)
    made = Watched(*more, folder, root=tmp_path / "environments", uv=uv)
    await made.source.start()
    made.catalog.refresh()
    watching = asyncio.create_task(made.catalog.run())
    try:
        yield made
        assert not watching.done()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await made.source.close()


def write(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / "functions" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path
