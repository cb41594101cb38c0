"""The service as one application: routes, the errors that any of them may meet, start and end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox import api, commands, envd, interpreter, pausing, transfer
from sandbox.http import HttpRefused, on_refused, refusal
from sandbox.isolation import Isolation
from sandbox.link import GuestError, SandboxGone
from sandbox.pictures import PictureFailed
from sandbox.sandboxes import Paused, Sandboxes, TooManySandboxes
from sandbox.settings import ServiceSettings

STATUS = {
    "not_found": 404,
    "invalid_argument": 400,
    "already_exists": 409,
    "permission_denied": 403,
    "resource_exhausted": 507,
    "deadline_exceeded": 504,
}


async def healthz(request: Request) -> Response:
    missing = request.app.state.sandboxes.no_pictures
    return JSONResponse({"status": "ok", **({"cannot_pause": missing} if missing else {})})


async def metrics(request: Request) -> Response:
    """Numbers for Prometheus. Without a key: who is on this network learns how many there are, and nothing of them."""
    paused = [sandbox.paused for sandbox in request.app.state.sandboxes.all()]
    lines = (
        "# HELP portico_sandboxes Sandboxes that there are, by state",
        "# TYPE portico_sandboxes gauge",
        f'portico_sandboxes{{state="running"}} {paused.count(False)}',
        f'portico_sandboxes{{state="paused"}} {paused.count(True)}',
        "# HELP portico_sandboxes_most Sandboxes that there may be at once",
        "# TYPE portico_sandboxes_most gauge",
        f"portico_sandboxes_most {request.app.state.settings.most}",
    )
    return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


async def on_guest_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, GuestError)
    return refusal(STATUS.get(error.code, 502), str(error))


async def on_gone(_: Request, error: Exception) -> Response:
    return refusal(502, "The sandbox was not found")


async def on_picture_failed(_: Request, error: Exception) -> Response:
    return refusal(507 if isinstance(error, PictureFailed) and error.full else 501, str(error))


async def on_paused(_: Request, error: Exception) -> Response:
    return refusal(409, str(error))


async def on_too_many(_: Request, error: Exception) -> Response:
    body = {"code": 429, "message": str(error)}
    return JSONResponse(body, 429, headers={"Should-Retry": "false"})


ANSWERS = {
    HttpRefused: on_refused,
    GuestError: on_guest_error,
    SandboxGone: on_gone,
    PictureFailed: on_picture_failed,
    Paused: on_paused,
    TooManySandboxes: on_too_many,
}


def make_app(isolation: Isolation, settings: ServiceSettings) -> Starlette:
    sandboxes = Sandboxes(isolation, settings)

    @contextlib.asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        watch = asyncio.create_task(sandboxes.watch())
        sandboxes.begin()
        try:
            yield
        finally:
            watch.cancel()
            await sandboxes.close()

    app = Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/metrics", metrics),
            *api.ROUTES,
            *pausing.ROUTES,
            *interpreter.ROUTES,
            *envd.ROUTES,
            *commands.ROUTES,
            *transfer.ROUTES,
        ],
        exception_handlers=ANSWERS,
        middleware=[Middleware(pausing.Waking)],
        lifespan=running,
    )
    app.state.settings, app.state.sandboxes = settings, sandboxes
    return app
