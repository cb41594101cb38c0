"""`POST /v1/chat/completions`: one answer of a route, whole or streamed."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from api.deps import App, Person
from api.openai.answer import Answering, OpenAiUsage, begin
from api.openai.choose import allowed_routes
from api.openai.errors import ERRORS, OpenAiRoute, described
from api.openai.requests import ChatRequest, wanted_of
from api.openai.stream import ClientGone, EventStream, while_connected
from portico.errors import PorticoError
from portico.llm.routes import ModelCall

router = APIRouter(tags=["OpenAI-compatible"], route_class=OpenAiRoute, responses=ERRORS)

NOBODY_READS = 499
DONE = b"data: [DONE]\n\n"


@router.post(
    "/v1/chat/completions",
    response_class=Response,
    responses={
        200: {"content": {"application/json": {}, "text/event-stream": {}}, "description": "The answer"}
    },
)
async def chat_completions(body: ChatRequest, request: Request, deps: App, person: Person) -> Response:
    """As OpenAI documents it, with `model` a route's name or `auto`. One answer, text in and out, images in."""
    wanted = wanted_of(body)
    allowed = await allowed_routes(deps, person, body.model)
    try:
        answering = await while_connected(request, begin(deps, person, allowed, wanted))
        headers = {"X-Portico-Route": answering.route, "X-Portico-Decision": answering.decision_id}
        if body.stream:
            told = body.stream_options is not None and body.stream_options.include_usage
            events = _events(answering, usage=told)
            return EventStream(events, close=answering.close, headers=headers)
        return await while_connected(request, _whole(answering, headers))
    except ClientGone:
        return Response(status_code=NOBODY_READS)


async def _whole(answering: Answering, headers: dict[str, str]) -> Response:
    try:
        answer = await answering.whole()
    finally:
        await answering.close()
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.calls:
        message["tool_calls"] = _calls(answer.calls)
    elif message["content"] is None:
        message["content"] = ""
    choice = {"index": 0, "message": message, "finish_reason": answer.finish, "logprobs": None}
    body = {**_head(answering, "chat.completion"), "choices": [choice], "usage": _usage(answer.usage)}
    return Response(orjson.dumps(body), media_type="application/json", headers=headers)


async def _events(answering: Answering, *, usage: bool) -> AsyncGenerator[bytes, None]:
    """The answer as OpenAI streams it. One that breaks off ends with an error, and without `[DONE]`."""
    head = _head(answering, "chat.completion.chunk")
    yield _event(head, {"role": "assistant", "content": ""})
    calls: tuple[ModelCall, ...] = ()
    try:
        async for delta in answering.deltas():
            calls = delta.calls
            if delta.text:
                yield _event(head, {"content": delta.text})
    except PorticoError as error:
        yield b"data: " + orjson.dumps(described(error)[1]) + b"\n\n"
        return
    if calls:
        yield _event(head, {"tool_calls": _calls(calls, numbered=True)})
    yield _event(head, {}, finish=answering.finish)
    if usage:
        yield b"data: " + orjson.dumps({**head, "choices": [], "usage": _usage(answering.usage)}) + b"\n\n"
    yield DONE


def _event(head: dict[str, Any], delta: dict[str, Any], *, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return b"data: " + orjson.dumps({**head, "choices": [choice]}) + b"\n\n"


def _head(answering: Answering, kind: str) -> dict[str, Any]:
    """`model` is the route that wrote it, also where `auto` was asked for."""
    return {
        "id": f"chatcmpl-{answering.decision_id}",
        "object": kind,
        "created": int(time.time()),
        "model": answering.route,
    }


def _calls(calls: Sequence[ModelCall], *, numbered: bool = False) -> list[dict[str, Any]]:
    return [
        {
            **({"index": number} if numbered else {}),
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for number, call in enumerate(calls)
    ]


def _usage(usage: OpenAiUsage) -> dict[str, Any]:
    counted = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    return {**counted, "estimated": True} if usage.estimated else counted
