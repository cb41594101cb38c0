"""`GET /v1/models` as OpenAI's clients read it, with what we know besides."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from api.deps import App, AppDeps, Person
from api.openai.choose import AUTO, ENCODER
from api.openai.errors import ERRORS, OpenAiRoute
from portico.errors import NotFound

router = APIRouter(tags=["OpenAI-compatible"], route_class=OpenAiRoute, responses=ERRORS)


@router.get("/v1/models")
async def list_models(deps: App, person: Person) -> dict[str, Any]:
    """What can be asked for by name: `auto`, the routes in their order, and the encoder for embeddings."""
    return {"object": "list", "data": await _all(deps)}


# A name may hold a slash. The paths of ours below `/v1/models/` come before this one, and no route has their names.
@router.get("/v1/models/{model:path}")
async def retrieve_model(model: str, deps: App, person: Person) -> dict[str, Any]:
    for one in await _all(deps):
        if one["id"] == model:
            return one
    raise NotFound(f"the model {model[:64]!r}")


async def _all(deps: AppDeps) -> list[dict[str, Any]]:
    """`created` is required by OpenAI's clients; local models have no such time."""
    health = await deps.route_health.all()
    models: list[dict[str, Any]] = [_model(AUTO, purpose="chat")]
    for route in deps.routes.candidates():
        state = health.get(route.name)
        told = {"model": route.model, "locality": route.locality, "state": state.word if state else "unknown"}
        models.append(_model(route.name, purpose="chat", **told))
    models.append(_model(ENCODER.name, purpose="embeddings", model=ENCODER.model, locality="local"))
    return models


def _model(name: str, **more: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "portico", **more}
