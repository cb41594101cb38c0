"""MCP servers as a source of tools: each of theirs is one of ours, `SERVER_tool`, and each call a `ToolRun`.

A server that is unavailable makes its tools unavailable and nothing else. What tools say of themselves is pinned
(`portico.storage.mcp_pins`): a changed description is not offered until somebody approved it.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from portico.contracts.steps import ToolCall
from portico.errors import Misconfigured
from portico.logs import logger
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.settings.tools import McpServerSettings, McpToolSettings
from portico.storage.mcp_pins import McpPins, Pin
from portico.tool import ToolFailed, ToolSpec
from portico.tools.catalog import RunningTool

if TYPE_CHECKING:
    from portico.tools.mcp.link import McpLink

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
APPROVALS_EVERY_S = 1.0
MARGIN_S = 5.0
"""The worker's own limit comes first; this is for a connection that hangs."""
NOTHING: dict[str, JsonValue] = {"type": "object", "properties": {}}

log = logger("mcp")


class McpSource:
    """All servers of the settings."""

    name = "mcp"

    def __init__(self, settings: Settings, home: Home, pins: McpPins, resolve: Callable[[str], str]) -> None:
        self._servers = [
            _Server(name, server, settings, home, pins, resolve)
            for name, server in sorted(settings.mcp.servers.items())
        ]
        self._watching: asyncio.Task[Any] | None = None

    def specs(self) -> Sequence[ToolSpec]:
        return [spec for server in self._servers for spec in server.specs()]

    def problems(self) -> Sequence[str]:
        return [problem for server in self._servers for problem in server.problems()]

    async def watch(self, changed: Callable[[], None]) -> None:
        """Keep every server connected, for ever."""
        self._watching = asyncio.current_task()
        if not self._servers:
            await asyncio.Event().wait()
        # It takes most of a second, and only who has such servers needs it.
        await asyncio.to_thread(importlib.import_module, "portico.tools.mcp.link")
        async with asyncio.TaskGroup() as group:
            for server in self._servers:
                group.create_task(server.keep(changed))

    async def close(self) -> None:
        """End `watch`, and wait until every server's program has ended."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    async def execute(self, spec: ToolSpec, call: ToolCall, run: RunningTool) -> JsonValue:
        server = next((one for one in self._servers if one.has(spec.name)), None)
        if server is None:
            raise ToolFailed("its server is not in the settings any more")
        return await server.execute(spec, call, run)


class _Server:
    """One server: its connection, its tools, and what is wrong."""

    def __init__(
        self,
        name: str,
        server: McpServerSettings,
        settings: Settings,
        home: Home,
        pins: McpPins,
        resolve: Callable[[str], str],
    ) -> None:
        self._name = name
        self._server = server
        self._settings = settings
        self._folder = home.root / "mcp"
        self._pins = pins
        self._resolve = resolve
        self._link: McpLink | None = None
        self._known: tuple[Pin, ...] = ()
        self._there: frozenset[str] = frozenset()
        self._away = "connecting"
        self._problems: tuple[str, ...] = ()
        self._changed: Callable[[], None] = lambda: None

    def has(self, name: str) -> bool:
        return any(pin.name == name for pin in self._known)

    def specs(self) -> Iterator[ToolSpec]:
        for pin in self._known:
            chosen = self._chosen(pin)
            if chosen.enabled:
                yield self._spec(pin, chosen)

    def problems(self) -> Iterator[str]:
        place = f"[mcp.servers.{self._name}]"
        if self._away and self._away != "connecting":
            yield f"{place}: {self._away}"
        for problem in self._problems:
            yield f"{place}: {problem}"

    async def keep(self, changed: Callable[[], None]) -> None:
        """Connect, and again after each loss, with longer and longer pauses."""
        self._changed = changed
        self._known = await self._pins.of_server(self._name)
        changed()
        pause_s = FIRST_PAUSE_S
        while True:
            connected = await self._connect()
            pause_s = FIRST_PAUSE_S if connected else min(pause_s * 2, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s)

    async def execute(self, spec: ToolSpec, call: ToolCall, run: RunningTool) -> JsonValue:
        from portico.tools.mcp import results

        link, tool = self._link, self._remote_name(spec.name)
        if link is None or not tool:
            raise ToolFailed(f"the server {self._name} is unavailable: {self._away}")
        arguments = dict(call.invocation.parameters)
        limit_s = self._server.timeout_s + MARGIN_S
        asked = asyncio.create_task(link.call(tool, arguments, run.progress, limit_s))
        stopped = asyncio.create_task(run.cancelled.wait())
        try:
            await asyncio.wait({asked, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                await self._stop(spec, asked)
            return await results.output(asked.result(), run)
        finally:
            for task in (asked, stopped):
                task.cancel()
            await asyncio.gather(asked, stopped, return_exceptions=True)

    async def _stop(self, spec: ToolSpec, asked: asyncio.Task[Any]) -> None:
        """Tell the server. It never says what came of that: a call that changes things does not end by itself."""
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        if spec.effects == "write":
            await asyncio.Event().wait()
        raise ToolFailed("stopped")

    async def _connect(self) -> bool:
        """One connection from its start to its end; whether the server was met at all."""
        from portico.tools.mcp.link import McpLink

        try:
            link = McpLink(self._name, self._server, self._settings, self._resolve, self._folder)
        except Misconfigured as error:
            self._lost(error.message)
            return False
        connection = asyncio.create_task(self._hold(link))
        try:
            await asyncio.wait({connection})
        finally:
            self._link = None
            connection.cancel()
            await asyncio.gather(connection, return_exceptions=True)
        met = not self._away
        self._lost(link.why(None if connection.cancelled() else connection.exception()))
        return met

    async def _hold(self, link: McpLink) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_for_approvals())
            await link.run(lambda tools: self._met(link, tools))

    async def _met(self, link: McpLink, tools: list[Any]) -> None:
        from portico.tools.mcp import results

        seen, self._problems = results.described(self._name, tools)
        before = (self._known, self._there, self._away)
        self._known = await self._pins.meet(self._name, self._identity(), seen)
        self._there = frozenset(one.name for one in seen)
        self._link, self._away = link, ""
        if before != (self._known, self._there, self._away):
            log.info("mcp.met", server=self._name, tools=len(seen))
            self._changed()

    def _lost(self, why: str) -> None:
        if why != self._away:
            log.warning("mcp.away", server=self._name, why=why)
        self._away = why
        self._changed()

    async def _look_for_approvals(self) -> None:
        """Somebody approves in another process; only while something waits for it, the pins are read again."""
        while True:
            await asyncio.sleep(APPROVALS_EVERY_S)
            if any(pin.pending for pin in self._known):
                known = await self._pins.of_server(self._name)
                if known != self._known:
                    self._known = known
                    self._changed()

    def _spec(self, pin: Pin, chosen: McpToolSettings) -> ToolSpec:
        approved = pin.approved
        return ToolSpec(
            name=pin.name,
            description=approved.description if approved else "(not approved yet)",
            parameters=dict(approved.parameters) if approved else NOTHING,
            effects=chosen.effects or self._server.effects,
            risk=chosen.risk or self._server.risk,
            timeout_s=self._server.timeout_s,
            repeatable=chosen.repeatable,
            source="mcp",
            file=f"[mcp.servers.{self._name}]",
            content_hash=self._hash(pin),
            unavailable=self._unavailable(pin),
        )

    def _unavailable(self, pin: Pin) -> str:
        if pin.approved is None:
            return f"new since its server was added; `portico tools approve {pin.name}` shows and approves it"
        if pin.pending is not None:
            return f"its description has changed; `portico tools approve {pin.name}` shows and approves it"
        if self._away:
            return f"the MCP server {self._name} is unavailable: {self._away}"
        if pin.name not in self._there:
            return f"the MCP server {self._name} does not have it any more"
        return ""

    def _chosen(self, pin: Pin) -> McpToolSettings:
        described = pin.approved or pin.pending
        return self._server.tools.get(described.tool if described else "", McpToolSettings())

    def _remote_name(self, name: str) -> str:
        return next((pin.approved.tool for pin in self._known if pin.name == name and pin.approved), "")

    def _hash(self, pin: Pin) -> str:
        """What an approval of a run is for: this description at this server."""
        told = pin.approved.content_hash if pin.approved else ""
        return hashlib.sha256(f"{self._identity()}:{told}".encode()).hexdigest()

    def _identity(self) -> str:
        return hashlib.sha256(json.dumps([self._server.url, self._server.command]).encode()).hexdigest()
