"""`/v1/models`: which language models are used, which were found on this machine, and a person's word to use one."""

from __future__ import annotations

import asyncio
import importlib

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.admin.decide import decide_admin
from api.body import BodyRoute
from api.deps import App, Person
from portico.errors import Conflict, Misconfigured
from portico.settings.models import RouteSettings
from portico.storage.route_health import RouteState

router = APIRouter(tags=["models"], route_class=BodyRoute)


class ListedRoute(BaseModel):
    """A model that free text may go to, if policy allows it."""

    name: str
    model: str
    locality: str
    state: str
    """`ok`, `failing`, or `unknown` before its first answer."""
    why: str = ""


class Found(BaseModel):
    """A model that answers on this machine and is not used. `name` is what `POST /v1/models/use` takes."""

    name: str
    server: str
    model: str


class Models(BaseModel):
    """`routes` in the order in which they are tried."""

    routes: list[ListedRoute]
    offers: list[Found]


class Served(BaseModel):
    """A model on Triton. `memory_mib` is what a language model needs to be loaded."""

    name: str
    state: str
    """`loaded`, `loading`, `unloading`, `ready` to be loaded, `half fetched`; `unknown` without Triton."""
    language: bool
    size_bytes: int | None
    memory_mib: int | None


class ModelChoice(BaseModel):
    name: str = Field(min_length=3, max_length=240, pattern=r"^[\w.:/@+ -]+$", examples=["ollama/llama3.2"])


class Chosen(BaseModel):
    """Free text goes to it from the next message on."""

    name: str
    model: str
    route: str


@router.get("/v1/models/routes")
async def list_models(deps: App, person: Person) -> Models:
    """Models that are used, and those found now (a few seconds ago at most). Finding is not using."""
    offers = await deps.models.offers()
    health = await deps.route_health.all()
    return Models(
        routes=[_route(name, route, health.get(name)) for name, route in deps.models.routes().items()],
        offers=[Found(name=offer.name, server=offer.server, model=offer.model) for offer in offers],
    )


@router.get("/v1/models/triton")
async def list_served(deps: App, person: Person) -> list[Served]:
    """Triton's models and how each of them is."""
    # Triton's client and numpy take 15 MiB, which an edge without such requests saves.
    module = await asyncio.to_thread(importlib.import_module, "portico.llm.library.shelf")
    shelved = await module.shelf(deps.home, deps.settings)
    return [Served.model_validate(model, from_attributes=True) for model in shelved]


@router.post("/v1/models/use")
async def use_model(body: ModelChoice, deps: App, person: Person) -> Chosen:
    """Use a model that answers on this machine, before all others. It goes into `portico.toml`."""
    await decide_admin(deps, person, "model.use", subject=body.name)
    try:
        offer, route = await deps.models.use(body.name)
    except Misconfigured as error:  # the file is as its owner made it; nothing broke here
        raise Conflict(error.message) from None
    return Chosen(name=offer.name, model=offer.model, route=route)


def _route(name: str, route: RouteSettings, state: RouteState | None) -> ListedRoute:
    return ListedRoute(
        name=name,
        model=route.model,
        locality=route.locality,
        state=state.word if state else "unknown",
        why=state.why if state else "",
    )
