"""An OpenAI-compatible server with scripted answers: `/v1/models` and `/v1/chat/completions`.

with FakeOpenAI(models=["tiny"]) as model:            # model.url + "/v1" is the base_url
    model.say("Hello", " there", pause_s=0.05)        # one answer; else it echoes
    model.call("add", {"a": 1}, text="Let me see.")   # one answer that asks for a tool
    model.script("chat", status(500), hang())
    model.asked[0]["messages"]
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.fakes.server import FakeServer, Step, delay, drop, status

__all__ = ["FakeOpenAI", "Said", "call_pieces", "delay", "drop", "hang", "status", "too_many"]


def hang() -> Step:
    """Accept the request and never answer."""
    return Step(delay_s=3600)


def too_many(retry_after_s: int) -> Step:
    error = {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}
    return Step(status=429, body={"error": error}, headers={"Retry-After": str(retry_after_s)})


@dataclass(frozen=True)
class Said:
    """One answer. `break_after` so many deltas the connection closes; `stop_after`: silence."""

    deltas: tuple[str, ...]
    pause_s: float = 0.0
    break_after: int | None = None
    stop_after: int | None = None
    finish: str = "stop"
    calls: tuple[dict[str, Any], ...] = ()
    """Pieces of `delta.tool_calls`, each in an event of its own."""
    usage: bool = True


def call_pieces(number: int, name: str, arguments: str, *, pieces: int = 3) -> tuple[dict[str, Any], ...]:
    """One tool call as OpenAI streams it: id and name first, then the arguments bit by bit."""
    step = max(1, -(-len(arguments) // pieces))
    cut = [arguments[start : start + step] for start in range(0, len(arguments), step)]
    head = {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": ""}}
    bits = [{"index": number, "function": {"arguments": bit}} for bit in cut]
    return ({"index": number, **head}, *bits)


class FakeOpenAI(FakeServer):
    def __init__(
        self, *, models: list[str] | None = None, api_key: str = "", port: int = 0, owned_by: str = "tests"
    ) -> None:
        super().__init__(port=port)
        self.models = models or ["tiny"]
        self.owned_by = owned_by
        self.listed = 0
        self.api_key = api_key
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.open_streams = 0
        self.broken_off = 0
        self._answers: deque[Said] = deque()

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def say(
        self,
        *deltas: str,
        pause_s: float = 0.0,
        break_after: int | None = None,
        stop_after: int | None = None,
        finish: str = "stop",
    ) -> None:
        """Queue one answer."""
        self._answers.append(Said(deltas, pause_s, break_after, stop_after, finish))

    def call(self, name: str, arguments: Any, *more: tuple[str, Any], text: str = "") -> None:
        """Queue one answer that asks for tools; arguments that are no string are written as JSON."""
        asked = [(name, arguments), *more]
        pieces = [
            piece
            for number, (tool, given) in enumerate(asked)
            for piece in call_pieces(number, tool, given if isinstance(given, str) else json.dumps(given))
        ]
        self.answer(Said((text,) if text else (), finish="tool_calls", calls=tuple(pieces)))

    def answer(self, said: Said) -> None:
        """Queue one answer as it is."""
        self._answers.append(said)

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)

    async def _models(self, request: web.Request) -> web.Response:
        self.listed += 1
        return web.json_response(
            {
                "object": "list",
                "data": [
                    {"id": name, "object": "model", "created": 0, "owned_by": self.owned_by}
                    for name in self.models
                ],
            }
        )

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body: dict[str, Any] = await request.json()
        if self.api_key and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return _problem(401, "Incorrect API key provided")
        with self._changed:
            self.asked.append(body)
            self.headers.append({name.lower(): value for name, value in request.headers.items()})
            self._changed.notify_all()
        step = self.next_step("chat")
        if step is not None and step.delay_s:
            await asyncio.sleep(step.delay_s)
        if step is not None and step.drop:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if step is not None and step.status is not None:
            return web.json_response(
                step.body or {"error": {"message": "scripted"}}, status=step.status, headers=step.headers
            )
        if body.get("model") not in self.models:
            return _problem(404, "The model does not exist")
        answer = self._answers.popleft() if self._answers else Said(tuple(_echo(body)))
        return (
            await self._stream(request, body, answer)
            if body.get("stream")
            else await self._whole(body, answer)
        )

    async def _whole(self, body: dict[str, Any], answer: Said) -> web.Response:
        await asyncio.sleep(answer.pause_s * len(answer.deltas))
        message = {"role": "assistant", "content": "".join(answer.deltas)}
        choice = {"index": 0, "message": message, "finish_reason": answer.finish}
        usage = {
            "prompt_tokens": 1,
            "completion_tokens": len(answer.deltas),
            "total_tokens": 1 + len(answer.deltas),
        }
        return web.json_response({**_head(body, "chat.completion"), "choices": [choice], "usage": usage})

    async def _stream(self, request: web.Request, body: dict[str, Any], answer: Said) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        self.open_streams += 1
        self.changed()
        try:
            await self._deltas(request, response, body, answer)
        except (ConnectionError, asyncio.CancelledError):
            self.broken_off += 1
            raise
        finally:
            self.open_streams -= 1
            self.changed()
        return response

    async def _deltas(
        self, request: web.Request, response: web.StreamResponse, body: dict[str, Any], answer: Said
    ) -> None:
        head = _head(body, "chat.completion.chunk")
        await _event(response, {**head, "choices": [_delta({"role": "assistant", "content": ""})]})
        for number, text in enumerate(answer.deltas):
            if number == answer.break_after and request.transport is not None:
                request.transport.abort()
                return
            if number == answer.stop_after:
                await _silence(request)
            if answer.pause_s:
                await asyncio.sleep(answer.pause_s)
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the reader went away")
            await _event(response, {**head, "choices": [_delta({"content": text})]})
        for piece in answer.calls:
            await _event(response, {**head, "choices": [_delta({"tool_calls": [piece]})]})
        await _event(response, {**head, "choices": [_delta({}, answer.finish)]})
        if answer.usage and (body.get("stream_options") or {}).get("include_usage"):
            await _event(response, {**head, "choices": [], "usage": _usage(len(answer.deltas))})
        await response.write(b"data: [DONE]\n\n")


async def _silence(request: web.Request) -> None:
    """Say nothing until the reader hangs up."""
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    raise ConnectionResetError("the reader went away")


def _usage(output_tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 1, "completion_tokens": output_tokens, "total_tokens": 1 + output_tokens}


def _echo(body: dict[str, Any]) -> list[str]:
    last = body.get("messages", [{}])[-1].get("content", "")
    return [f"{word} " for word in f"You said: {last}".split()]


def _head(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-test", "object": kind, "created": int(time.time()), "model": body.get("model")}


def _delta(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


async def _event(response: web.StreamResponse, body: dict[str, Any]) -> None:
    await response.write(b"data: " + json.dumps(body).encode() + b"\n\n")


def _problem(code: int, text: str) -> web.Response:
    return web.json_response({"error": {"message": text, "type": "invalid_request_error"}}, status=code)
