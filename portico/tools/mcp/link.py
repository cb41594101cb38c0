"""One connection with an MCP server, by the official SDK: from meeting it to losing it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import mcp_types as types
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from portico.egress.guard import GuardedTransport, network
from portico.errors import Forbidden, PorticoError, Unavailable
from portico.settings.settings import Settings
from portico.settings.tools import McpServerSettings
from portico.tool import ToolFailed
from portico.tools.catalog import EndUnknown
from portico.tools.mcp.results import line
from portico.tools.mcp.stdio import Child

LIST_EVERY_S = 15.0
"""How often a server is asked for its tools: not all tell when they change, and none tells that it is unavailable."""
CONNECT_S = 30.0
LIST_S = 30.0
MOST_PAGES = 20
LOST = (types.CONNECTION_CLOSED, types.REQUEST_TIMEOUT)
SECRETS = ("secret:", "env:", "file:")
LARGEST_ANSWER = 8 * 1024 * 1024

Met = Callable[[list[types.Tool]], Awaitable[None]]
Resolve = Callable[[str], str]
Report = Callable[[str, float | None], None]


class McpLink:
    """`run` holds the connection; `call` uses it from other tasks."""

    def __init__(
        self, name: str, server: McpServerSettings, settings: Settings, resolve: Resolve, folder: Path
    ) -> None:
        """Raises `Misconfigured` where a secret that the settings name is not there."""
        self._server = server
        self._settings = settings
        self._token = resolve(server.token) if server.token else ""
        self._child: Child | None = None
        if server.command:
            given = {
                name: resolve(value) if value.startswith(SECRETS) else value
                for name, value in server.environment.items()
            }
            self._child = Child(server.command, given, memory_mib=server.memory_mib, folder=folder / name)
        self._client: Client | None = None
        self._changed = asyncio.Event()

    async def run(self, met: Met) -> None:
        """Connect, and tell what tools there are whenever that may have changed. Ends only with an error."""
        connecting = asyncio.timeout(CONNECT_S)
        async with connecting, self._transport() as transport, self._session(transport) as client:
            connecting.reschedule(None)
            client.session.validate_tool_result = _unchecked  # type: ignore[method-assign]
            self._client = client
            try:
                async with _listening(client, self._changed):
                    while True:
                        self._changed.clear()
                        await met(await _tools(client))
                        await self._wait()
            finally:
                self._client = None

    async def call(
        self, tool: str, arguments: dict[str, Any], report: Report, limit_s: float
    ) -> types.CallToolResult:
        """Raises `ToolFailed`, and `EndUnknown` where the server is lost meanwhile."""
        client = self._client
        if client is None:
            raise ToolFailed("its server is unavailable")

        async def told(progress: float, total: float | None, message: str | None) -> None:
            report(line(message or ""), min(max(progress / total, 0.0), 1.0) if total else None)

        try:
            return await client.call_tool(
                tool, arguments, read_timeout_seconds=limit_s, progress_callback=told
            )
        except MCPError as error:
            if error.error.code in LOST:
                raise EndUnknown(f"its server was lost: {line(error.error.message)}") from None
            raise ToolFailed(line(error.error.message) or "the server refused the call") from None
        except (httpx2.HTTPError, OSError) as error:
            raise EndUnknown(f"its server was lost: {type(error).__name__}") from None

    def why(self, error: BaseException | None) -> str:
        """In one line for people why the connection ended."""
        if self._child is not None and self._child.end:
            return line(self._child.end)
        leaf = _leaf(error)
        if isinstance(leaf, PorticoError):
            return line(leaf.message)
        if isinstance(leaf, MCPError):
            return line(leaf.error.message)
        if isinstance(leaf, TimeoutError):
            return "no answer in time"
        return f"not reached ({type(leaf).__name__})" if leaf else "the connection ended"

    async def _wait(self) -> None:
        """Until something may have changed. Raises `Unavailable` where the server's program has gone."""
        waiting = [asyncio.create_task(self._changed.wait())]
        if self._child is not None:
            waiting.append(asyncio.create_task(self._child.closed.wait()))
        try:
            await asyncio.wait(waiting, timeout=LIST_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        if self._child is not None and self._child.closed.is_set():
            raise Unavailable("its program", "it says nothing more")

    @asynccontextmanager
    async def _transport(self) -> AsyncIterator[Any]:
        if self._child is not None:
            yield self._child.streams()
            return
        async with guarded_client(self._server.url, self._settings, self._token) as http:
            yield streamable_http_client(self._server.url, http_client=http)

    @asynccontextmanager
    async def _session(self, transport: Any) -> AsyncIterator[Client]:
        info = types.Implementation(name="portico", version="1")
        async with Client(
            transport,
            client_info=info,
            cache=None,
            read_timeout_seconds=LIST_S,
            message_handler=self._heard,
        ) as client:
            yield client

    async def _heard(self, message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._changed.set()


@asynccontextmanager
async def guarded_client(url: str, settings: Settings, token: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client for the server that the owner named. Raises `Forbidden` for one elsewhere in local mode."""
    host = (httpx2.URL(url).host or "").lower()
    if settings.local_only and not _is_here(host):
        raise Forbidden(f"nothing leaves this machine (local_only), and {host} is not it")
    headers = {"Accept-Encoding": "identity", "User-Agent": "Portico"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    transport = _Bounded(network(settings, allow=[url]))
    limits = httpx2.Timeout(30.0, connect=5.0, read=300.0)
    async with httpx2.AsyncClient(
        transport=transport, headers=headers, timeout=limits, trust_env=False
    ) as http:
        yield http


def _is_here(host: str) -> bool:
    return host == "localhost" or host in ("::1", "[::1]") or host.startswith("127.")


class _Bounded(GuardedTransport):
    """The guard, and an end to answers that have none. Streams of events are bounded by the SDK, event by event."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx2.DecodingError("the server packs what should come unpacked")
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _Limited(response.stream)
        return response


class _Limited(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > LARGEST_ANSWER:
                raise httpx2.ReadError(f"the answer is larger than {LARGEST_ANSWER} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _tools(client: Client) -> list[types.Tool]:
    found: list[types.Tool] = []
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if not cursor:
            break
    return found


@asynccontextmanager
async def _listening(client: Client, changed: asyncio.Event) -> AsyncIterator[None]:
    """Listen to the server's stream of change notifications, if it has one; polling continues."""
    task = asyncio.create_task(_listen(client, changed)) if _tells(client) else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _tells(client: Client) -> bool:
    tools = client.server_capabilities.tools
    return client.protocol_version >= "2026" and tools is not None and bool(tools.list_changed)


async def _listen(client: Client, changed: asyncio.Event) -> None:
    async with client.listen(tools_list_changed=True) as events:
        async for _ in events:
            changed.set()


async def _unchecked(name: str, result: types.CallToolResult) -> None:
    """The server's own schema of its own answer proves nothing, and a pattern in it can be made to never end."""


def _leaf(error: BaseException | None) -> BaseException | None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
