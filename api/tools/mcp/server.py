"""Handler of `/mcp`: tools that policy lets this person use, and runs of them. Loads the MCP SDK."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import defaultdict
from typing import Any

import mcp_types as types
import orjson
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from api.deps import AppDeps
from api.tools import runs
from api.tools.mcp.scope import PERSON
from api.tools.runs import ToolEvent
from portico.contracts.messages import (
    Actor,
    Artifact,
    Effect,
    ExecutionResult,
    ExecutionStatus,
    ToolInvocation,
)
from portico.contracts.policy import EDGE, PolicyContext, PolicyInput, ToolAction, params_hash
from portico.errors import NoSuchTool, PorticoError
from portico.storage.access import Principal
from portico.tool import ToolSpec

QUICK_S = 0.8
"""Most tools end sooner than this and need no progress notification."""
SHOWN_IMAGE_BYTES = 1024 * 1024
IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
INVOCATION, STATUS = "portico/invocation", "portico/status"
"""In `_meta` of a result: which run it is of, and how that ended in Portico's terms."""
INSTRUCTIONS = (
    "Tools of a private Portico. Each call is recorded and decided by its owner's rules; some wait until a person "
    "has said yes, and the call stays open until then."
)


class McpTools:
    """The protocol's two questions, answered by the same runs as for REST and gRPC."""

    def __init__(self, deps: AppDeps) -> None:
        self._deps = deps
        server: Server[Any] = Server(
            "portico",
            title="Portico",
            instructions=INSTRUCTIONS,
            get_tool_input_schema=lambda _: None,
            on_list_tools=self._list,
            on_call_tool=self._call,
        )
        self._manager = StreamableHTTPSessionManager(
            server, stateless=True, max_request_body_size=deps.settings.limits.body_bytes + 1
        )
        self._open: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        """Runs by key and by the request id of the protocol before, whose clients stop a call by a message."""

    async def serve(self, ready: asyncio.Event, stop: asyncio.Event) -> None:
        async with self._manager.run():
            ready.set()
            await stop.wait()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._manager.handle_request(scope, receive, send)

    async def cancelled(self, request: Request, body: bytes) -> bool:
        """Whether this was the message that stops a call; without sessions it counts where one call alone is meant."""
        if b"notifications/cancelled" not in body or not _is_before(request):
            return False
        try:
            message = orjson.loads(body)
            if message["method"] != "notifications/cancelled":
                return False
            meant = self._open.get((_person(request).key_id, str(message["params"]["requestId"])), set())
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return False
        if len(meant) == 1:
            await runs.cancel(self._deps, _person(request), next(iter(meant)))
        return True

    async def _list(self, ctx: Any, params: Any) -> types.ListToolsResult:
        person = _person(ctx.request)
        known = [spec for spec in await self._deps.tools.list() if not spec.unavailable]
        usable = await asyncio.gather(*(self._may_use(person, spec) for spec in known))
        tools = [_tool(spec) for spec, may in zip(known, usable, strict=True) if may]
        return types.ListToolsResult(tools=tools, ttl_ms=0, cache_scope="private")

    async def _may_use(self, person: Principal, spec: ToolSpec) -> bool:
        """Offering is no effect and stores nothing: each call is decided again, with its parameters."""
        action = ToolAction(
            tool=spec.name, effects=spec.effects, risk=spec.risk, params_hash=params_hash(spec.name, {})
        )
        asked = PolicyInput.about(
            action,
            actor=Actor(id=person.person_id, role=person.role, paired=True),
            conversation=EDGE,
            group=False,
            context=PolicyContext.at(time.time(), local_only=self._deps.settings.local_only),
        )
        return (await self._deps.policy.decide("tool", asked)).effect is not Effect.DENY

    async def _call(self, ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        person = _person(ctx.request)
        invocation = ToolInvocation(tool_name=params.name, parameters=params.arguments or {})
        try:
            with self._deps.limits.watching(person.person_id):
                invocation_id = await runs.start(self._deps, person, invocation, via="mcp")
                return await self._ended(ctx, person, invocation_id)
        except NoSuchTool as error:
            raise MCPError(types.INVALID_PARAMS, error.message) from None
        except PorticoError as error:
            return _failed(error.code, error.message)

    async def _ended(self, ctx: Any, person: Principal, invocation_id: str) -> types.CallToolResult:
        place = (person.key_id, str(ctx.request_id))
        self._open[place].add(invocation_id)
        try:
            result = await self._waited(ctx, person, invocation_id)
        except asyncio.CancelledError:
            if not _is_before(ctx.request):
                # In this revision hanging up is how a call is stopped; before it, it meant nothing.
                await asyncio.shield(runs.cancel(self._deps, person, invocation_id))
            raise
        finally:
            self._open[place].discard(invocation_id)
            if not self._open[place]:
                del self._open[place]
        return await self._told(ctx, result)

    async def _waited(self, ctx: Any, person: Principal, invocation_id: str) -> ExecutionResult:
        result = await runs.result(self._deps, person, invocation_id, wait_s=QUICK_S)
        if result.status is not ExecutionStatus.RUNNING:
            return result
        steps = 0
        async for event in runs.watch(self._deps, person, invocation_id):
            if event.result is not None:
                return event.result
            steps += 1
            await _report(ctx, event, steps)
        return result

    async def _told(self, ctx: Any, result: ExecutionResult) -> types.CallToolResult:
        meta = {INVOCATION: result.invocation_id, STATUS: result.status.value}
        if result.status is not ExecutionStatus.SUCCEEDED:
            error = result.error
            return _failed(
                error.code if error else "", error.message if error else result.status.value, meta=meta
            )
        content: list[Any] = [types.TextContent(type="text", text=_text(result.output))]
        for artifact in result.artifacts:
            content.append(await self._file(ctx.request, result.invocation_id, artifact))
        structured = result.output if isinstance(result.output, dict) else None
        return types.CallToolResult(content=content, structured_content=structured, _meta=meta)

    async def _file(self, request: Request, invocation_id: str, artifact: Artifact) -> Any:
        """A small picture as such, for models that see; anything else as a link, which needs the key."""
        if artifact.media_type in IMAGES and artifact.size_bytes <= SHOWN_IMAGE_BYTES:
            kept = await self._deps.artifacts.find(invocation_id, artifact.name)
            data = base64.b64encode(await self._deps.artifacts.content(kept)).decode()
            return types.ImageContent(type="image", data=data, mime_type=artifact.media_type)
        return types.ResourceLink(
            type="resource_link",
            uri=str(request.base_url).rstrip("/") + artifact.url,
            name=artifact.name,
            mime_type=artifact.media_type,
            size=artifact.size_bytes,
        )


def _person(request: Request) -> Principal:
    person = request.scope[PERSON]
    assert isinstance(person, Principal)
    return person


def _is_before(request: Request) -> bool:
    """Whether it speaks a revision from before calls were stopped by hanging up."""
    version = request.headers.get("mcp-protocol-version")
    return version is None or version in HANDSHAKE_PROTOCOL_VERSIONS


def _tool(spec: ToolSpec) -> types.Tool:
    return types.Tool(
        name=spec.name,
        description=spec.description,
        input_schema=dict(spec.parameters),
        annotations=types.ToolAnnotations(
            read_only_hint=spec.effects != "write",
            destructive_hint=spec.effects == "write",
            idempotent_hint=spec.repeatable,
            open_world_hint=bool(spec.network),
        ),
    )


async def _report(ctx: Any, event: ToolEvent, steps: int) -> None:
    """Progress has to increase; without a fraction each notification counts as one."""
    words = "waiting for a person's yes" if event.kind == "waiting" else event.text
    total = 1.0 if event.fraction is not None else None
    await ctx.session.report_progress(event.fraction if total else float(steps), total, words or None)


def _failed(code: str, message: str, *, meta: dict[str, Any] | None = None) -> types.CallToolResult:
    words = types.TextContent(type="text", text=f"{code}: {message}" if code else message)
    return types.CallToolResult(content=[words], is_error=True, _meta=meta)


def _text(output: Any) -> str:
    if isinstance(output, dict) and isinstance(output.get("text"), str):
        return str(output["text"])
    return output if isinstance(output, str) else orjson.dumps(output).decode()
