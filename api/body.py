"""Reads request bodies no further than their limit."""

from __future__ import annotations

from fastapi import Request

from portico.errors import TooLarge


async def read_body(request: Request, *, limit_bytes: int) -> bytes:
    """The whole body. Raises `TooLarge` as soon as the declared or the real size is over the limit."""
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise TooLarge("the request body", limit_bytes=limit_bytes)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit_bytes:
            raise TooLarge("the request body", limit_bytes=limit_bytes)
        chunks.append(chunk)
    return b"".join(chunks)
