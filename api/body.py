"""Reads request bodies no further than their limit, and no longer than their time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message

from api.deps import app_deps, principal_of, webhook_deps
from portico.errors import TooLarge, TooSlow

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
BASE64_GROWTH = 4 / 3


async def read_body(request: Request, *, limit_bytes: int) -> bytes:
    """The whole body. Raises `TooLarge` as soon as the declared or the real size is over the limit, `TooSlow`."""
    limit_s = webhook_deps(request).settings.limits.request_timeout_s
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise TooLarge("the request body", limit_bytes=limit_bytes)
    try:
        async with asyncio.timeout(limit_s):
            return await _read(request, limit_bytes)
    except TimeoutError:
        raise TooSlow("the request body", limit_s=limit_s) from None


async def _read(request: Request, limit_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit_bytes:
            raise TooLarge("the request body", limit_bytes=limit_bytes)
        chunks.append(chunk)
    return b"".join(chunks)


class BodyRoute(APIRoute):
    """A route of the group `app` whose body FastAPI parses: who asks is known before any of it is read."""

    def get_route_handler(self) -> Handler:
        parse_and_handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            if not self.body_field:
                return await parse_and_handle(request)
            await principal_of(request)
            body = await read_body(request, limit_bytes=self.limit_bytes(request))
            return await parse_and_handle(Request(request.scope, replayed(body, request.receive)))

        return guarded

    def limit_bytes(self, request: Request) -> int:
        return app_deps(request).settings.limits.body_bytes


class AttachmentsRoute(BodyRoute):
    """The same, with room for attachments in base64."""

    def limit_bytes(self, request: Request) -> int:
        limits = app_deps(request).settings.limits
        return limits.body_bytes + int(limits.attachment_bytes * BASE64_GROWTH)


def replayed(body: bytes, receive: Callable[[], Awaitable[Message]]) -> Callable[[], Awaitable[Message]]:
    """A `receive` that gives a body that was read before, then what still comes (the client leaving)."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return left.pop() if left else await receive()

    return receive_again
