"""What an MCP server says, in Portico's terms: its tools' descriptions, and the results of calls. Bounded."""

from __future__ import annotations

import base64
import binascii
import json
import mimetypes
import re
from collections.abc import Sequence
from typing import Any

import mcp_types as types
from pydantic import JsonValue

from portico.errors import Unreadable
from portico.storage.mcp_pins import Described
from portico.tool import ToolFailed
from portico.tools.catalog import RunningTool

MOST_TOOLS = 200
LONGEST_NAME = 64
LONGEST_DESCRIPTION = 4000
LARGEST_SCHEMA = 64 * 1024
DEEPEST_SCHEMA = 32
LONGEST_TEXT = 1024 * 1024
MOST_FILES = 16
WORDS = 300

_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
)
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


def described(server: str, tools: Sequence[types.Tool]) -> tuple[tuple[Described, ...], tuple[str, ...]]:
    """Its tools under the names that they have here, and what is wrong with the others."""
    found: dict[str, Described] = {}
    problems = []
    for tool in tools[:MOST_TOOLS]:
        name = _name(server, tool.name)
        try:
            parameters = _schema(tool.input_schema)
        except Unreadable as error:
            problems.append(f"{name}: {error.message}")
            continue
        if name in found:
            problems.append(f"{name}: two tools of the server would have this name")
            continue
        words = _CONTROLS.sub("", tool.description or tool.title or tool.name)[:LONGEST_DESCRIPTION]
        found[name] = Described(name=name, tool=tool.name, description=words, parameters=parameters)
    if len(tools) > MOST_TOOLS:
        problems.append(f"the server has more than {MOST_TOOLS} tools; the others are left out")
    return tuple(found.values()), tuple(problems)


async def output(result: types.CallToolResult, run: RunningTool) -> JsonValue:
    """The output of a call; pictures and files become artifacts. Raises `ToolFailed` with the tool's own words."""
    texts: list[str] = []
    for number, block in enumerate(result.content):
        if text := await _said(block, number, run):
            texts.append(text)
    text = "\n".join(texts)
    if result.is_error:
        raise ToolFailed(_CONTROLS.sub("", text)[:WORDS] or "the server says that it failed, and not why")
    if len(text) > LONGEST_TEXT:
        raise ToolFailed(f"its answer is longer than {LONGEST_TEXT} characters")
    structured: JsonValue = result.structured_content
    if structured is None:
        return {"text": text}
    return {"text": text, "structured": structured} if text else structured


def line(text: str) -> str:
    """Words of a server, fit to be shown in a list."""
    return " ".join(_CONTROLS.sub("", text).split())[:WORDS]


def _name(server: str, tool: str) -> str:
    return f"{server}_{re.sub(r'[^a-z0-9_]+', '_', tool.lower())}"[:LONGEST_NAME].rstrip("_")


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    """A copy that can be shown and checked against. Raises `Unreadable`."""
    if schema.get("type") != "object":
        raise Unreadable("its schema", "it describes no object")
    if len(json.dumps(schema)) > LARGEST_SCHEMA:
        raise Unreadable("its schema", f"over {LARGEST_SCHEMA} bytes")
    _check(schema, 0)
    return {**schema, "properties": schema.get("properties") or {}}


def _check(part: Any, depth: int) -> None:
    if depth > DEEPEST_SCHEMA:
        raise Unreadable("its schema", "nested too deeply")
    if isinstance(part, dict):
        for reference in _REFERENCES:
            if isinstance(part.get(reference), str) and not part[reference].startswith("#"):
                raise Unreadable("its schema", "it refers to another place")
    children = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    for child in children:
        _check(child, depth + 1)


async def _said(block: types.ContentBlock, number: int, run: RunningTool) -> str:
    """The text of one block; a file is kept and named."""
    match block:
        case types.TextContent():
            return block.text
        case types.ImageContent() | types.AudioContent():
            return await _kept(block.data, block.mime_type, f"{block.type}-{number + 1}", run)
        case types.ResourceLink():
            return f"{block.name}: {block.uri}"
        case types.EmbeddedResource(resource=types.TextResourceContents() as resource):
            return resource.text
        case types.EmbeddedResource(resource=types.BlobResourceContents() as resource):
            name = str(resource.uri).rsplit("/", 1)[-1] or f"file-{number + 1}"
            return await _kept(resource.blob, resource.mime_type or "", name, run)
    return ""


async def _kept(data: str, media_type: str, name: str, run: RunningTool) -> str:
    if len(run.artifacts) >= MOST_FILES:
        return ""
    try:
        content = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise ToolFailed("the server sent a file that is not base64") from None
    if not re.fullmatch(r"[\w.+-]+/[\w.+-]+", media_type):
        media_type = "application/octet-stream"
    if "." not in name:
        name += mimetypes.guess_extension(media_type) or ""
    await run.artifact(re.sub(r"[^\w.-]+", "_", name)[-100:], content, media_type)
    return ""
