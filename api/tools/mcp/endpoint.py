"""`/mcp`: the tools of this Portico for MCP clients, over streamable HTTP without sessions.

The current revision of the protocol and the ones before are spoken by the official SDK, which is loaded at the first
request. No session: any process of the edge can answer any request, and nothing is lost when one ends.
"""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.body import read_body, replayed
from api.deps import AppDeps
from api.tools.mcp.scope import PERSON
from portico.errors import Forbidden, Refused
from portico.storage.access import Principal

if TYPE_CHECKING:
    from api.tools.mcp.server import McpTools

PATH = "/mcp"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class McpEndpoint:
    """The ASGI application behind `/mcp`. Who asks is known before a body is read or the SDK is loaded."""

    def __init__(self, deps: AppDeps) -> None:
        self._deps = deps
        self._tools: McpTools | None = None
        self._opening = asyncio.Lock()
        self._serving: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await self._admit(request)
        tools = await self._opened()
        if await tools.cancelled(request, body):
            await Response(status_code=202)(scope, receive, send)
        else:
            await tools.handle(scope, replayed(body, receive), send)

    async def close(self) -> None:
        self._stop.set()
        if self._serving is not None:
            await asyncio.gather(self._serving, return_exceptions=True)

    async def _admit(self, request: Request) -> bytes:
        """The body of an authenticated request. Raises `Refused`, `Forbidden`, `TooLarge`, `TooSlow`."""
        self._check_origin(request)
        request.scope[PERSON] = await self._person(request)
        if request.method != "POST":
            # Streams that a server opens by itself, and sessions: there are none, and clients go on without.
            raise HTTPException(405, headers={"Allow": "POST"})
        return await read_body(request, limit_bytes=self._deps.settings.limits.body_bytes)

    async def _person(self, request: Request) -> Principal:
        """Keys only: a session's cookie would travel with what other pages make a browser send."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        found = await self._deps.access.check_key(token.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            raise Refused("no valid key")
        return found

    def _check_origin(self, request: Request) -> None:
        """A page whose name was made to lead here (DNS rebinding) still says where it came from."""
        origin = request.headers.get("origin")
        settings = self._deps.settings
        ours = LOOPBACK | {settings.host, _host(settings.public_url)} - {""}
        if origin is not None and _host(origin) not in ours:
            raise Forbidden("a page of another origin may not call this")

    async def _opened(self) -> McpTools:
        """The SDK's part, made once and served by a task of its own until `close`."""
        async with self._opening:
            if self._tools is None:
                module = await asyncio.to_thread(importlib.import_module, "api.tools.mcp.server")
                made: McpTools = module.McpTools(self._deps)
                ready = asyncio.Event()
                self._serving = asyncio.create_task(made.serve(ready, self._stop))
                await ready.wait()
                self._tools = made
        return self._tools


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
