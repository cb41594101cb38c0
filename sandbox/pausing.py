"""The routes that pause, resume and copy sandboxes. Each needs the API key."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.api import named, opened, timeout_of
from sandbox.http import HttpRefused, read_json, refusal, require_key, sandboxes, text
from sandbox.sandboxes import Snapshot, TooManySandboxes

FORKS_LIMIT = 100
NAME_LIMIT = 128


async def connect(request: Request) -> Response:
    """Whoever connects to a paused sandbox resumes it. A running one keeps its time if it has more."""
    sandbox = named(request)
    body = await read_json(request)
    _with_memory(body)
    seconds, was_paused = timeout_of(request, body), sandbox.paused
    await sandboxes(request).resume(sandbox, seconds)
    sandbox.extend(seconds, shorten=False)
    return JSONResponse(opened(sandbox), 201 if was_paused else 200)


async def resume(request: Request) -> Response:
    """What SDKs before `connect` asked."""
    if not named(request).paused:
        raise HttpRefused(409, "the sandbox runs")
    return await connect(request)


async def pause(request: Request) -> Response:
    sandbox = named(request)
    _with_memory(await read_json(request))
    if not await sandboxes(request).pause(sandbox):
        raise HttpRefused(409, "the sandbox is paused")
    return Response(status_code=204)


async def fork(request: Request) -> Response:
    sandbox = named(request)
    body = await read_json(request)
    count = body.get("count", 1)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= FORKS_LIMIT:
        raise HttpRefused(400, f"count must be between 1 and {FORKS_LIMIT}")
    made = await sandboxes(request).fork(sandbox, count, timeout_of(request, body))
    return JSONResponse([_forked(each) for each in made], 201)


def _forked(made: Any) -> dict[str, Any]:
    if isinstance(made, TooManySandboxes):
        return {"error": {"code": 429, "message": str(made)}}
    return {"sandbox": opened(made)}


async def snapshot(request: Request) -> Response:
    sandbox = named(request)
    body = await read_json(request)
    _with_memory(body)
    name = text(body, "name", "")
    if len(name) > NAME_LIMIT:
        raise HttpRefused(400, f"a name has at most {NAME_LIMIT} characters")
    return JSONResponse(_snapshot(await sandboxes(request).snapshot(sandbox, name)), 201)


async def list_snapshots(request: Request) -> Response:
    require_key(request)
    query = request.query_params
    snapshots = sandboxes(request).snapshots.values()
    of, name = query.get("sandboxID"), query.get("name")
    matching = [each for each in snapshots if of in (None, each.of) and name in (None, each.name, each.id)]
    return JSONResponse([_snapshot(each) for each in matching])


async def forget(request: Request) -> Response:
    require_key(request)
    try:
        sandboxes(request).forget(request.path_params["id"])
    except KeyError:
        raise HttpRefused(404, "there is no such snapshot") from None
    return Response(status_code=204)


def _with_memory(body: dict[str, Any]) -> None:
    if body.get("memory", True) is not True:
        raise HttpRefused(400, "a sandbox is kept with its memory; files alone are not supported")


def _snapshot(taken: Snapshot) -> dict[str, Any]:
    return {"snapshotID": taken.id, "names": [taken.name] if taken.name else []}


class Waking:
    """A paused sandbox that was made to resume by itself does so at the next request with its token."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            wanted = request.headers.get("e2b-sandbox-id")
            sandbox = next((each for each in sandboxes(request).all() if each.id == wanted), None)
            tokens = (request.headers.get(name) for name in ("x-access-token", "e2b-traffic-access-token"))
            if sandbox is not None and sandbox.paused and sandbox.resumes and sandbox.opens(*tokens):
                try:
                    await sandboxes(request).resume(sandbox, request.app.state.settings.limits.timeout_s)
                except TooManySandboxes as too_many:
                    return await refusal(429, str(too_many))(scope, receive, send)
        await self._app(scope, receive, send)


ROUTES = [
    Route("/sandboxes/{id}/connect", connect, methods=["POST"]),
    Route("/v2/sandboxes/{id}/connect", connect, methods=["POST"]),
    Route("/sandboxes/{id}/resume", resume, methods=["POST"]),
    Route("/sandboxes/{id}/pause", pause, methods=["POST"]),
    Route("/sandboxes/{id}/fork", fork, methods=["POST"]),
    Route("/sandboxes/{id}/snapshots", snapshot, methods=["POST"]),
    Route("/snapshots", list_snapshots, methods=["GET"]),
    Route("/templates/{id}", forget, methods=["DELETE"]),
]
