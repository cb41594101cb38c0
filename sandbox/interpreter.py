"""The routes that run code: cells in contexts, their output streamed as lines of JSON."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.http import INTERPRETER, HttpRefused, opened, read_json, text, text_map
from sandbox.link import Call, GuestError, SandboxGone
from sandbox.record import Sandbox

KEEPALIVE_S = 5.0
HOME = "/home/user"
LANGUAGES = {
    "python": "python",
    "javascript": "javascript",
    "js": "javascript",
    "typescript": "typescript",
    "ts": "typescript",
    "bash": "bash",
}
NAMES = {
    "text/plain": "text",
    "text/html": "html",
    "text/markdown": "markdown",
    "image/svg+xml": "svg",
    "image/png": "png",
    "image/jpeg": "jpeg",
    "application/pdf": "pdf",
    "text/latex": "latex",
    "application/json": "json",
    "application/javascript": "javascript",
    "e2b/data": "data",
    "e2b/chart": "chart",
}


async def execute(request: Request) -> Response:
    sandbox = opened(request, INTERPRETER)
    body = await read_json(request)
    code, context, language = text(body, "code"), body.get("context_id"), body.get("language")
    if context and language:
        return PlainTextResponse("Only one of context_id or language can be provided", 400)
    if language and (not isinstance(language, str) or language not in LANGUAGES):
        return _unspoken(str(language))
    if not isinstance(context, str | None):
        return PlainTextResponse("context_id must be text", 400)
    env = sandbox.env | text_map(body.get("env_vars"), "env_vars")
    try:
        if context and context not in {known["id"] for known in await _contexts(sandbox)}:
            return PlainTextResponse(f"Context {str(context)[:64]} not found", 404)
        call = sandbox.link.call(
            "execute", code=code, context=context or None, env=env, language=LANGUAGES.get(language or "")
        )
    except SandboxGone:
        raise HttpRefused(502, f"The sandbox {sandbox.id} was not found") from None
    return StreamingResponse(_lines(call), media_type="application/x-ndjson")


def _unspoken(language: str) -> Response:
    return PlainTextResponse(f"Language {language[:40]} is not supported", 400)


async def _lines(call: Call) -> AsyncIterator[bytes]:
    answers = aiter(call)
    waiting: asyncio.Future[Any] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(answers, None))
            done, _ = await asyncio.wait({waiting}, timeout=KEEPALIVE_S)
            if not done:
                yield _line({"type": "keepalive"})
                continue
            answer, waiting = waiting.result(), None
            if answer is None:
                break
            if (event := _event(answer[0].get("event"))) is not None:
                yield _line(event)
    except GuestError as error:
        yield _line({"type": "error", "name": error.code, "value": str(error), "traceback": str(error)})
    finally:
        if waiting is not None:
            waiting.cancel()
        call.cancel()  # who has gone away interrupts the cell
    yield _line({"type": "end_of_execution"})


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode() + b"\n"


def _event(event: Any) -> dict[str, Any] | None:
    """What the guest said, in the protocol's words; None for what is no event."""
    if not isinstance(event, dict):
        return None
    kind = event.get("type")
    if kind in ("stdout", "stderr"):
        return {"type": kind, "text": str(event.get("text")), "timestamp": time.time_ns()}
    if kind == "result" and isinstance(event.get("data"), dict):
        return {"type": "result", "is_main_result": bool(event.get("main")), **_result(event["data"])}
    if kind == "error":
        return {"type": kind, **{name: str(event.get(name, "")) for name in ("name", "value", "traceback")}}
    if kind == "number_of_executions" and isinstance(event.get("execution_count"), int):
        return {"type": kind, "execution_count": event["execution_count"]}
    return None


def _result(data: dict[str, Any]) -> dict[str, Any]:
    named = {NAMES[kind]: value for kind, value in data.items() if kind in NAMES}
    extra = {kind: value for kind, value in data.items() if kind not in NAMES}
    shown = named.get("text")
    if isinstance(shown, str) and len(shown) >= 2 and shown[0] == shown[-1] and shown[0] in "'\"":
        named["text"] = shown[1:-1]
    return named | ({"extra": extra} if extra else {})


async def _contexts(sandbox: Sandbox) -> list[dict[str, Any]]:
    contexts = (await sandbox.link.ask("contexts", action="list")).get("contexts")
    if not isinstance(contexts, list):
        raise HttpRefused(502, "the sandbox answered nonsense")
    return [context for context in contexts if isinstance(context, dict) and "id" in context]


async def list_contexts(request: Request) -> Response:
    return JSONResponse(await _contexts(opened(request, INTERPRETER)))


async def create_context(request: Request) -> Response:
    sandbox = opened(request, INTERPRETER)
    body = await read_json(request)
    language = text(body, "language", "python")
    if language not in LANGUAGES:
        return _unspoken(language)
    cwd = text(body, "cwd", HOME)
    answer = await sandbox.link.ask("contexts", action="create", cwd=cwd, language=LANGUAGES[language])
    return JSONResponse(answer.get("context"))


async def change_context(request: Request) -> Response:
    sandbox = opened(request, INTERPRETER)
    action = "restart" if request.method == "POST" else "remove"
    try:
        await sandbox.link.ask("contexts", action=action, context=request.path_params["id"])
    except GuestError as error:
        return PlainTextResponse(str(error), 404 if error.code == "not_found" else 500)
    return Response(status_code=200)


ROUTES = [
    Route("/execute", execute, methods=["POST"]),
    Route("/contexts", list_contexts, methods=["GET"]),
    Route("/contexts", create_context, methods=["POST"]),
    Route("/contexts/{id}", change_context, methods=["DELETE"]),
    Route("/contexts/{id}/restart", change_context, methods=["POST"]),
]
