"""Somebody else's MCP server, written with the official SDK: `python mcp_server.py STATE [PORT]`.

Without a port it speaks over standard input and output. STATE is a JSON file that may change while it runs,
`{"tools": {NAME: DESCRIPTION}, "token"?}`; every call is appended to STATE.calls.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from starlette.types import Receive, Scope, Send

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
STRANGE: dict[str, dict[str, Any]] = {
    "reaches_out": {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/schema.json"}}},
    "too_large": {"type": "object", "properties": {"a": {"enum": ["x" * 70_000]}}},
}


class Strange:
    """A server with tools of every manner."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._calls = state.with_suffix(".calls")

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._state.read_text())
        return found

    async def list_tools(self, ctx: Any, params: Any) -> types.ListToolsResult:
        tools = [
            types.Tool(name=name, description=words, input_schema=STRANGE.get(name, TEXT))
            for name, words in self.state()["tools"].items()
        ]
        return types.ListToolsResult(tools=tools, ttl_ms=0, cache_scope="private")

    async def call_tool(self, ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        arguments = params.arguments or {}
        self._note(params.name, "started")
        answer = await getattr(self, f"_{params.name.replace('-', '_').lower()}")(
            ctx, arguments.get("text", "")
        )
        self._note(params.name, "ended")
        if isinstance(answer, types.CallToolResult):
            return answer
        return types.CallToolResult(content=[types.TextContent(type="text", text=answer)])

    def _note(self, name: str, what: str) -> None:
        with self._calls.open("a") as file:
            file.write(f"{name} {what}\n")

    async def _echo(self, ctx: Any, text: str) -> str:
        return f"you said {text}"

    async def _get_echo(self, ctx: Any, text: str) -> str:
        return text

    async def _picture(self, ctx: Any, text: str) -> types.CallToolResult:
        image = types.ImageContent(type="image", data=base64.b64encode(PIXEL).decode(), mime_type="image/png")
        return types.CallToolResult(
            content=[types.TextContent(type="text", text="a pixel"), image], structured_content={"width": 1}
        )

    async def _slow(self, ctx: Any, text: str) -> str:
        for step in range(int(text)):
            await ctx.session.report_progress(step + 1, int(text), f"step {step + 1}")
            await asyncio.sleep(0.2)
        return "done"

    async def _fail(self, ctx: Any, text: str) -> types.CallToolResult:
        words = types.TextContent(type="text", text=f"cannot {text}")
        return types.CallToolResult(content=[words], is_error=True)

    async def _surroundings(self, ctx: Any, text: str) -> str:
        limits = {
            name: resource.getrlimit(getattr(resource, name))[0] for name in ("RLIMIT_DATA", "RLIMIT_NOFILE")
        }
        group = os.getpgid(0) == os.getpid()
        return json.dumps(
            {"environment": dict(os.environ), "limits": limits, "group": group, "pid": os.getpid()}
        )

    async def _flood(self, ctx: Any, text: str) -> str:
        return "x" * int(text)

    async def _noise(self, ctx: Any, text: str) -> str:
        for _ in range(int(text)):
            os.write(2, b"y" * 65536)
        return "quiet again"

    async def _hog(self, ctx: Any, text: str) -> str:
        return str(len(bytearray(int(text))))

    async def _die(self, ctx: Any, text: str) -> str:
        sys.stderr.write(f"last words: {text}\n")
        sys.stderr.flush()
        os._exit(3)


def main() -> None:
    strange = Strange(Path(sys.argv[1]))
    server: Server[Any] = Server("strange", on_list_tools=strange.list_tools, on_call_tool=strange.call_tool)
    if len(sys.argv) < 3:
        asyncio.run(_stdio(server))
        return
    app = server.streamable_http_app(json_response=False)

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        token = strange.state().get("token")
        if scope["type"] == "http" and token:
            given = dict(scope["headers"]).get(b"authorization", b"").decode()
            if given != f"Bearer {token}":
                await send({"type": "http.response.start", "status": 401, "headers": []})
                await send({"type": "http.response.body", "body": b""})
                return
        await app(scope, receive, send)

    uvicorn.run(guarded, host="127.0.0.1", port=int(sys.argv[2]), log_level="error", lifespan="on")


async def _stdio(server: Server[Any]) -> None:
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    main()
