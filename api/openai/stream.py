"""Sends an answer as server-sent events, and stops asking for more as soon as the reader is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from portico.logs import logger

STALLED_AFTER_S = 60.0
"""A reader that takes nothing for so long keeps a place that others wait for."""

T = TypeVar("T")
log = logger("edge")


class ClientGone(Exception):
    """Nobody is there any more to be answered."""


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do the work unless the client hangs up first: then it is cancelled. Raises `ClientGone`."""
    doing = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait((doing, gone), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ClientGone
        return doing.result()
    finally:
        await _end(doing, gone)


class EventStream(Response):
    """Sends the events as they come. `close` is called whatever ends it, also where nothing was sent yet."""

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        *,
        close: Callable[[], Awaitable[None]],
        headers: dict[str, str],
    ) -> None:
        # Not the base's: that one declares a length.
        self.status_code = 200
        self.background = None
        self.init_headers({**headers, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._events = events
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.ensure_future(self._send(send))
        gone = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        except (OSError, TimeoutError):
            log.info("openai.reader_gone")  # the server closes the connection as it is, unfinished
        finally:
            await _end(sending, gone)
            await self._close()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._events) as events:
            async for event in events:
                await _sent(send, event)
        await _sent(send, b"", more=False)


async def _sent(send: Send, body: bytes, *, more: bool = True) -> None:
    async with asyncio.timeout(STALLED_AFTER_S):
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
