"""`/healthz` (the process lives), `/readyz` (it can store events), `/metrics`."""

from __future__ import annotations

import asyncio
import hmac
import time

from fastapi import APIRouter, Depends, Request, Response
from temporalio.service import RPCError

from api.backlog import backlogs
from api.deps import App, AppDeps, Webhooks, app_deps, http_principal, owner
from portico.errors import Refused, Unavailable
from portico.settings.settings import Settings
from portico.triton.understand_cache import read_counts

router = APIRouter(tags=["health"])
metrics_router = APIRouter(tags=["health"])
webhook_metrics_router = APIRouter(tags=["health"])

READY_TIMEOUT_S = 2.0


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request, deps: Webhooks) -> dict[str, str | dict[str, int]]:
    """Events can be stored: Temporal answers. 503 otherwise.

    `models` counts the language model routes that answered last and those that failed; a gateway whose models
    are unavailable takes events all the same.
    """
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            await deps.intake.ready()
    except (RPCError, TimeoutError, RuntimeError) as error:
        raise Unavailable("Temporal", type(error).__name__) from error
    return {"status": "ready", **await _models(app_deps(request))}


async def _models(deps: AppDeps | None) -> dict[str, dict[str, int]]:
    """Numbers only: who asks has shown no key."""
    if deps is None:
        return {}
    used = {route.name for route in deps.routes.candidates()}
    states = [state for name, state in (await deps.route_health.all()).items() if name in used]
    failing = sum(1 for state in states if state.failing)
    return {"models": {"ok": len(states) - failing, "failing": failing}} if used else {}


def shows_metrics_token(request: Request, settings: Settings) -> bool:
    token = settings.telemetry.metrics_token
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    if token is None or scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(token.get_secret_value().encode(), shown.strip().encode())


async def may_read_metrics(request: Request, deps: App) -> None:
    """The token of the settings, which opens nothing else, or an owner's key. Raises `Refused`, `Forbidden`."""
    if not shows_metrics_token(request, deps.settings):
        await owner(await http_principal(request))


@webhook_metrics_router.get("/metrics", response_class=Response)
async def webhook_metrics(request: Request, deps: Webhooks) -> Response:
    """Metrics of an edge with webhooks only, which knows no people: by the token alone."""
    if not shows_metrics_token(request, deps.settings):
        raise Refused("no valid token")
    return Response(deps.metrics.exposition(), media_type="text/plain; version=0.0.4")


@metrics_router.get("/metrics", response_class=Response, dependencies=[Depends(may_read_metrics)])
async def metrics(deps: App) -> Response:
    """Prometheus' text format; behind a key, because counts tell something too."""
    deps.metrics.show_waiting(
        await backlogs(deps.temporal, split=deps.settings.temporal.split),
        await deps.outbox.waiting(now=time.time()),
        dead_letters=await deps.dead_letters.count_open(),
    )
    health, usage = await deps.route_health.all(), await deps.usage.rows(days=1)
    deps.metrics.show_models(health, usage, deps.routes.waiting())
    known = await deps.tools.read()
    deps.metrics.show_tools([spec.unavailable for spec in known.specs], known.problems)
    deps.metrics.show_understanding(read_counts(deps.home.understand_counts))
    return Response(deps.metrics.exposition(), media_type="text/plain; version=0.0.4")
