"""Connect's JSON codec, as much of it as E2B's clients speak: unary calls, server streams, one client stream."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from sandbox.http import JSON_LIMIT, json_object
from sandbox.link import GuestError
from sandbox.record import Sandbox

PREFIX = struct.Struct(">BI")
LAST = 0x02
CODES = {
    "invalid_argument": 400,
    "not_found": 404,
    "already_exists": 409,
    "permission_denied": 403,
    "resource_exhausted": 429,
    "unauthenticated": 401,
    "deadline_exceeded": 408,
    "unimplemented": 501,
    "unavailable": 503,
}

Message = dict[str, Any]


class RpcError(Exception):
    """An answer with one of Connect's codes."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def enveloped(message: Message, flags: int = 0) -> bytes:
    body = json.dumps(message).encode()
    return PREFIX.pack(flags, len(body)) + body


async def messages(request: Request) -> AsyncIterator[Message]:
    """The enveloped messages of a streaming request. RpcError for what is none."""
    waiting = bytearray()
    async for chunk in request.stream():
        waiting += chunk
        while len(waiting) >= PREFIX.size:
            flags, size = PREFIX.unpack_from(waiting)
            if size > JSON_LIMIT:
                raise RpcError("resource_exhausted", "a message is too large")
            if flags & 0x01:
                raise RpcError("unimplemented", "messages must not be compressed")
            if len(waiting) < PREFIX.size + size:
                break
            body = bytes(waiting[PREFIX.size : PREFIX.size + size])
            del waiting[: PREFIX.size + size]
            yield parsed(body)
    if waiting:
        raise RpcError("invalid_argument", "the last message is cut off")


async def only_message(request: Request) -> Message:
    async for message in messages(request):
        return message
    raise RpcError("invalid_argument", "there is no message")


def parsed(body: bytes) -> Message:
    try:
        return json_object(body or b"{}")
    except ValueError as error:
        raise RpcError("invalid_argument", f"the message is {error}") from None


def unary(
    find: Callable[[Request], Sandbox], answer: Callable[[Sandbox, Message], Awaitable[Message]]
) -> Callable[[Request], Awaitable[Response]]:
    """A route from a function of one message. Who may not is refused before anything is read."""

    async def route(request: Request) -> Response:
        try:
            sandbox = find(request)
            body = bytearray()
            async for chunk in request.stream():
                body += chunk
                if len(body) > JSON_LIMIT:
                    raise RpcError("resource_exhausted", "the message is too large")
            return JSONResponse(await answer(sandbox, parsed(bytes(body))))
        except (RpcError, GuestError) as error:
            return JSONResponse({"code": error.code, "message": str(error)}, CODES.get(error.code, 500))

    return route


def server_stream(
    find: Callable[[Request], Sandbox],
    answer: Callable[[Sandbox, Message, Request], Awaitable[AsyncIterator[Message]]],
) -> Callable[[Request], Awaitable[Response]]:
    """A route from a function from one message to a stream of messages."""

    async def route(request: Request) -> Response:
        try:
            stream = await answer(find(request), await only_message(request), request)
        except (RpcError, GuestError) as error:
            return streamed(failed(error))
        return streamed(_with_end(stream))

    return route


def keepalive_of(request: Request) -> float:
    """How often the client wants to hear that the stream lives, in seconds."""
    value = request.headers.get("keepalive-ping-interval", "")
    return min(max(float(value), 1), 300) if value.isascii() and value.isdigit() and len(value) < 6 else 50.0


def streamed(frames: AsyncIterator[bytes]) -> Response:
    return StreamingResponse(frames, media_type="application/connect+json")


async def _with_end(stream: AsyncIterator[Message]) -> AsyncIterator[bytes]:
    try:
        async for message in stream:
            yield enveloped(message)
    except (RpcError, GuestError) as error:
        yield enveloped({"error": {"code": error.code, "message": str(error)}}, LAST)
    else:
        yield enveloped({}, LAST)


async def failed(error: RpcError | GuestError) -> AsyncIterator[bytes]:
    yield enveloped({"error": {"code": error.code, "message": str(error)}}, LAST)


async def once(message: Message) -> AsyncIterator[bytes]:
    yield enveloped(message)
    yield enveloped({}, LAST)
