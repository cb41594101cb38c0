"""`/v1/pairing`: who waits to be let in, and the owner's word on it. Policy decides on each first."""

from __future__ import annotations

import time

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.admin.decide import decide_admin
from api.body import BodyRoute
from api.deps import App, Owner, Person

router = APIRouter(tags=["pairing"], route_class=BodyRoute)


class Waiting(BaseModel):
    """Somebody who showed up and got a code."""

    channel: str
    account: str
    name: str
    code: str
    expires_at: float


class Approval(BaseModel):
    """`role` is what they become."""

    code: str = Field(min_length=4, max_length=32)
    role: str = Field("member", pattern="^(admin|member|guest|customer)$")


class Approved(BaseModel):
    person: str
    role: str


@router.get("/v1/pairing")
async def list_waiting(deps: App, person: Owner) -> list[Waiting]:
    """Open pairing codes."""
    return [
        Waiting(
            channel=pending.channel,
            account=pending.account,
            name=pending.name,
            code=pending.code,
            expires_at=pending.expires_at,
        )
        for pending in await deps.people.pending(time.time())
    ]


@router.post("/v1/pairing/approve")
async def approve(body: Approval, deps: App, person: Person) -> Approved:
    """Let the person with this code in."""
    await decide_admin(deps, person, "pair.approve", role=body.role)
    actor = await deps.people.approve(
        body.code.strip().upper(), role=body.role, now=time.time(), by=person.person_id
    )
    return Approved(person=actor.id, role=actor.role)
