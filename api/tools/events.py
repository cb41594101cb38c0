"""`/v1/invocations/{id}/events`: what happens in a run, as server-sent events.

`progress {text, fraction}`, `waiting {parameters, expiresAt}` (a person's yes is waited for), and at last `ended` with
the result. The first event is where the run stands. Who comes back with `Last-Event-ID` is not told the same again;
after `ended` they get 204, which ends a browser's EventSource.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractContextManager, aclosing
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Response
from starlette.responses import StreamingResponse

from api.deps import App, Person
from api.tools import runs
from api.tools.runs import ToolEvent

router = APIRouter(tags=["tools"])

HEARTBEAT_S = 15.0
RECONNECT_MS = 2000
HEARTBEAT = b": still here\n\n"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

LastEventId = Annotated[str, Header(max_length=64)]


@router.get(
    "/v1/invocations/{invocation_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "Events until the run's end"},
        204: {"description": "It has ended, and `Last-Event-ID` says that this is known"},
    },
)
async def events(invocation_id: str, deps: App, person: Person, last_event_id: LastEventId = "") -> Response:
    """Progress, waiting for a yes, and the end of an invocation of this person."""
    place = deps.limits.watching(person.person_id)
    happening = runs.watch(deps, person, invocation_id)
    with deps.limits.watching(person.person_id):
        first = await anext(happening)
    if first.kind == "ended" and last_event_id == event_id(first):
        return Response(status_code=204)
    stream = _stream(first, happening, place, known=last_event_id)
    return StreamingResponse(stream, media_type="text/event-stream", headers=HEADERS)


def event_id(event: ToolEvent) -> str:
    """The same for the same news, on whichever connection it comes."""
    return hashlib.sha256(orjson.dumps([event.kind, _data(event)])).hexdigest()[:16]


async def _stream(
    first: ToolEvent, happening: AsyncIterator[ToolEvent], place: AbstractContextManager[None], *, known: str
) -> AsyncGenerator[bytes, None]:
    """Encoded events; a disconnect closes the generator and all that it holds."""
    with place:
        yield b"retry: %d\n\n" % RECONNECT_MS
        if event_id(first) != known:
            yield _frame(first)
        if first.kind == "ended":
            return
        async with aclosing(_with_heartbeats(happening)) as frames:
            async for frame in frames:
                yield frame


async def _with_heartbeats(happening: AsyncIterator[ToolEvent]) -> AsyncGenerator[bytes, None]:
    """Keep-alive comments, so that no proxy closes an idle connection."""
    pending = asyncio.ensure_future(anext(happening, None))
    try:
        while True:
            done, _ = await asyncio.wait({pending}, timeout=HEARTBEAT_S)
            if not done:
                yield HEARTBEAT
                continue
            event = pending.result()
            if event is None:
                return
            yield _frame(event)
            pending = asyncio.ensure_future(anext(happening, None))
    finally:
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)


def _frame(event: ToolEvent) -> bytes:
    data = orjson.dumps(_data(event)).decode()
    return f"id: {event_id(event)}\nevent: {event.kind}\ndata: {data}\n\n".encode()


def _data(event: ToolEvent) -> dict[str, Any]:
    if event.kind == "ended" and event.result is not None:
        return event.result.model_dump(mode="json", exclude={"output_blob"})
    if event.kind == "waiting":
        expires_at = event.expires_at.isoformat() if event.expires_at else None
        return {"parameters": event.text, "expiresAt": expires_at}
    return {"text": event.text, "fraction": event.fraction}
