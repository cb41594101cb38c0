"""What every route needs: whose sandbox a request is for, whether it may, and how refusals look."""

from __future__ import annotations

import hmac
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sandbox.record import Sandbox
from sandbox.sandboxes import Sandboxes
from sandbox.settings import ServiceSettings

ENVD, INTERPRETER = "49983", "49999"
JSON_LIMIT = 16 * 1024 * 1024


class HttpRefused(Exception):
    """Becomes the answer: a status and a message, as the API writes them."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def refusal(status: int, message: str) -> JSONResponse:
    return JSONResponse({"code": status, "message": message}, status)


async def on_refused(_: Request, refused: Exception) -> Response:
    assert isinstance(refused, HttpRefused)
    return refusal(refused.status, str(refused))


def settings(request: Request) -> ServiceSettings:
    current: ServiceSettings = request.app.state.settings
    return current


def sandboxes(request: Request) -> Sandboxes:
    current: Sandboxes = request.app.state.sandboxes
    return current


def require_key(request: Request) -> None:
    key = request.headers.get("x-api-key", "")
    if not hmac.compare_digest(key.encode(), settings(request).key.encode()):
        raise HttpRefused(401, "the API key is missing or wrong")


def addressed(request: Request, port: str) -> Sandbox:
    """The sandbox that the headers name. 502 where it is gone, which clients read as `not running`."""
    wanted = request.headers.get("e2b-sandbox-id", "")
    if request.headers.get("e2b-sandbox-port", port) != port:
        raise HttpRefused(502, "The sandbox is running but the port is not open")
    try:
        sandbox = sandboxes(request).find(wanted)
    except KeyError:
        raise HttpRefused(502, f"The sandbox {wanted[:64]} was not found") from None
    if sandbox.paused:
        raise HttpRefused(502, f"The sandbox {wanted[:64]} was not found: it is paused")
    return sandbox


def opened(request: Request, port: str) -> Sandbox:
    """The same, and the request carries one of its tokens."""
    sandbox = addressed(request, port)
    headers = request.headers
    if not sandbox.opens(headers.get("x-access-token"), headers.get("e2b-traffic-access-token")):
        raise HttpRefused(401, "the access token is missing or of another sandbox")
    return sandbox


async def read_json(request: Request) -> dict[str, Any]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > JSON_LIMIT:
            raise HttpRefused(413, f"a request holds at most {JSON_LIMIT} bytes")
    return parse_object(bytes(body) or b"{}")


def parse_object(body: bytes) -> dict[str, Any]:
    try:
        return json_object(body)
    except ValueError as error:
        raise HttpRefused(400, f"the body is {error}") from None


def json_object(body: bytes) -> dict[str, Any]:
    """ValueError for what is none, or holds half a character, which nothing could be answered with."""
    try:
        value = json.loads(body)
        if b"\\u" in body:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def text_map(value: Any, name: str) -> dict[str, str]:
    """A map of strings, such as variables; None is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
        isinstance(item, str) and "\0" not in item for item in value.values()
    ):
        raise HttpRefused(400, f"{name} must be an object of strings")
    if any(not key or "=" in key or "\0" in key for key in value):
        raise HttpRefused(400, f"{name} holds a name that is none")
    return value


def text(value: dict[str, Any], name: str, default: str | None = None) -> str:
    entry = value.get(name)
    if entry is None and default is not None:
        return default
    if not isinstance(entry, str):
        raise HttpRefused(400, f"{name} must be text")
    return entry
