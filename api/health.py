"""`/healthz` (the process lives), `/readyz` (it can store events), `/metrics`."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response
from temporalio.service import RPCError

from api.deps import App, Owner, Webhooks
from portico.errors import Unavailable

router = APIRouter(tags=["health"])
metrics_router = APIRouter(tags=["health"])

READY_TIMEOUT_S = 2.0


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(deps: Webhooks) -> dict[str, str]:
    """Events can be stored: Temporal answers. 503 otherwise."""
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            await deps.intake.ready()
    except (RPCError, TimeoutError, RuntimeError) as error:
        raise Unavailable("Temporal", type(error).__name__) from error
    return {"status": "ready"}


@metrics_router.get("/metrics", response_class=Response)
async def metrics(deps: App, person: Owner) -> Response:
    """Prometheus' text format; behind a key, because counts tell something too."""
    return Response(deps.metrics.exposition(), media_type="text/plain; version=0.0.4")
