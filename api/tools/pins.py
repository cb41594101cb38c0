"""`/v1/tools/{name}/pin`: what a tool of an MCP server said of itself when it was approved, and what it says now."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.admin.decide import decide_admin
from api.body import BodyRoute
from api.deps import App, Owner, Person
from portico.storage.mcp_pins import Described, Pin

router = APIRouter(tags=["tools"], route_class=BodyRoute)


class Told(BaseModel):
    """What it says of itself; `content_hash` stands for exactly that."""

    tool: str
    description: str
    parameters: dict[str, Any]
    content_hash: str


class PinInfo(BaseModel):
    """`approved` is null for a tool without approval, `pending` for one that has not changed since."""

    name: str
    server: str
    approved: Told | None
    pending: Told | None


class Approve(BaseModel):
    """The hash of the description that was read."""

    content_hash: str = Field(min_length=64, max_length=64)


@router.get("/v1/tools/{name}/pin")
async def read_pin(name: str, deps: App, person: Owner) -> PinInfo:
    """For the owner and admins; 404 for tools that are no MCP server's."""
    return _info(await deps.pins.get(name))


@router.post("/v1/tools/{name}/pin")
async def approve(name: str, body: Approve, deps: App, person: Person) -> PinInfo:
    """Offer the tool with its new description; 409 where it says something else by now."""
    await deps.pins.get(name)
    decision = await decide_admin(deps, person, "tool.approve_description", subject=name)
    await deps.pins.approve(name, body.content_hash, by=person.person_id, decision_id=decision.decision_id)
    return _info(await deps.pins.get(name))


def _info(pin: Pin) -> PinInfo:
    return PinInfo(name=pin.name, server=pin.server, approved=_told(pin.approved), pending=_told(pin.pending))


def _told(described: Described | None) -> Told | None:
    if described is None:
        return None
    return Told(
        tool=described.tool,
        description=described.description,
        parameters=dict(described.parameters),
        content_hash=described.content_hash,
    )
