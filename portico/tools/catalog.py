"""The catalog: what tools there are, from several sources, and what is wrong with those that are not there."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol

from pydantic import JsonValue

from portico.contracts.messages import Artifact
from portico.contracts.steps import ToolCall
from portico.errors import PorticoError
from portico.logs import logger
from portico.tool import ToolError, ToolSpec

NEAREST = 3
RETRY_S = 1.0
MORE_PROBLEMS = 50

Publish = Callable[[Sequence[ToolSpec], Sequence[str]], Awaitable[None]]
Report = Callable[[str, float | None], None]
KeepArtifact = Callable[[str, bytes, str], Awaitable[Artifact]]

log = logger("tools")


class EndUnknown(ToolError):
    """Who runs the tool was lost in the middle of a call, and cannot be asked what came of it."""

    code = "interrupted"


class RunningTool:
    """One call while it runs, as its source sees it."""

    def __init__(self, report: Report, keep: KeepArtifact, *, attempt: int = 1) -> None:
        self.attempt = attempt
        self.cancelled = asyncio.Event()
        """Set when the caller has gone; a second later `execute` itself is cancelled."""
        self.began_at: float | None = asyncio.get_running_loop().time()
        """From here its time counts, on the loop's clock; nothing while it waits for a place."""
        self._report = report
        self._keep = keep
        self._artifacts: dict[str, Artifact] = {}

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        return tuple(self._artifacts.values())

    @property
    def held(self) -> bool:
        return self.began_at is None

    def hold(self) -> None:
        """It waits for a place, which is not its own time."""
        self.began_at = None

    def begin(self) -> None:
        """It has its place."""
        self.began_at = asyncio.get_running_loop().time()

    def progress(self, text: str, fraction: float | None = None) -> None:
        """Tell how far it is. Never waits."""
        self._report(text, fraction)

    async def artifact(self, name: str, data: bytes, media_type: str = "") -> Artifact:
        """Keep a file with the result. Raises `ToolFailed` over a limit, `Unavailable` where S3 is unavailable."""
        self._artifacts[name] = await self._keep(name, data, media_type)
        return self._artifacts[name]


class ToolSource(Protocol):
    """Where tools come from: files with functions, MCP servers."""

    @property
    def name(self) -> str: ...

    def specs(self) -> Sequence[ToolSpec]: ...

    def problems(self) -> Sequence[str]: ...

    async def watch(self, changed: Callable[[], None]) -> None:
        """Run until cancelled; call `changed` whenever `specs` or `problems` have changed."""
        ...

    async def execute(self, spec: ToolSpec, call: ToolCall, run: RunningTool) -> JsonValue:
        """The output. Raises `ToolError`. When it is cancelled, it leaves nothing running."""
        ...


class Catalog:
    """All tools of a process. A name that an earlier source has cannot be taken by a later one."""

    def __init__(
        self,
        sources: Sequence[ToolSource],
        *,
        publish: Publish | None = None,
        reserved: Collection[str] = (),
    ) -> None:
        self._sources = tuple(sources)
        self._publish = publish
        self._reserved = frozenset(reserved)
        """Names of Portico's own steps: an activity of that type is theirs."""
        self._specs: dict[str, ToolSpec] = {}
        self._owners: dict[str, ToolSource] = {}
        self._problems: tuple[str, ...] = ()
        self._changed = asyncio.Event()
        self.refresh()

    def spec(self, name: str) -> ToolSpec | None:
        return self._specs.get(name)

    def specs(self) -> tuple[ToolSpec, ...]:
        return tuple(self._specs[name] for name in sorted(self._specs))

    def problems(self) -> tuple[str, ...]:
        """What is wrong with files and servers, each in one line that says where."""
        return self._problems

    def nearest(self, name: str) -> tuple[str, ...]:
        return nearest(name, self._specs)

    def source_of(self, name: str) -> ToolSource:
        """Raises `KeyError`."""
        return self._owners[name]

    def refresh(self) -> None:
        """Ask the sources again."""
        specs: dict[str, ToolSpec] = {}
        owners: dict[str, ToolSource] = {}
        problems: list[str] = []
        for source in self._sources:
            problems += source.problems()
            for spec in source.specs():
                if spec.name in self._reserved:
                    problems.append(f"{spec.file}: the name '{spec.name}' is taken by a step of Portico")
                elif spec.name in specs:
                    other = specs[spec.name].file
                    problems.append(f"{spec.file}: there is a tool '{spec.name}' already, in {other}")
                else:
                    specs[spec.name], owners[spec.name] = spec, source
        for problem in problems:
            if problem not in self._problems:
                log.warning("tools.problem", problem=problem)
        self._specs, self._owners = specs, owners
        self._problems = tuple(problems[:MORE_PROBLEMS])
        self._changed.set()

    async def run(self) -> None:
        """Watch the sources and publish what changes, for ever."""
        async with asyncio.TaskGroup() as group:
            for source in self._sources:
                group.create_task(source.watch(self.refresh))
            group.create_task(self._publishing())

    async def publish(self) -> None:
        """Write what is known now where api and CLI read it."""
        self._changed.clear()
        if self._publish is not None:
            await self._publish(self.specs(), self.problems())

    async def _publishing(self) -> None:
        while True:
            await self._changed.wait()
            try:
                await self.publish()
            except PorticoError as error:
                self._changed.set()
                log.warning("tools.not_published", cause=error.code)
                await asyncio.sleep(RETRY_S)


def nearest(name: str, names: Collection[str]) -> tuple[str, ...]:
    """The nearest existing names."""
    wanted = name[:64].lower()
    close = difflib.get_close_matches(wanted, sorted(names), NEAREST, cutoff=0.5)
    return tuple(close) or tuple(sorted(one for one in names if one.startswith(wanted[:3])))[:NEAREST]
