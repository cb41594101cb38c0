"""What language models were asked and what it cost; and which conversations may be shared with the cloud."""

from __future__ import annotations

import re
from typing import Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.admin.decide import decide_admin
from api.body import BodyRoute
from api.chat.conversations import workflow_of
from api.deps import App, AppDeps, Person
from portico.contracts.messages import ADMIN_ROLES
from portico.storage.access import Principal
from portico.storage.usage import UsageRow

router = APIRouter(tags=["models"], route_class=BodyRoute)

SEES_ALL = (*ADMIN_ROLES, "auditor")
CONVERSATION_ID = re.compile(r"conversation-[a-z2-7]{26}")


class Usage(BaseModel):
    """`cost_today` is what policy gets: today's cost so far, of all people."""

    currency: str
    cost_today: float
    rows: tuple[UsageRow, ...]


class DataClass(BaseModel):
    """`shareable`: what is said there may go to a cloud route, where policy allows it."""

    data_class: Literal["local", "shareable"]


class ClassedConversation(DataClass):
    conversation: str


@router.get("/v1/models/usage")
async def usage(deps: App, person: Person, days: int = Query(7, ge=1, le=366)) -> Usage:
    """Newest day first. Owner, admins and auditors see everybody's, others their own."""
    whose = None if person.role in SEES_ALL else person.person_id
    spent = await deps.usage.today(person.person_id)
    return Usage(
        currency=deps.settings.llm.currency,
        cost_today=spent.total if whose is None else spent.person,
        rows=await deps.usage.rows(days=days, person=whose),
    )


@router.post("/v1/conversations/{conversation}/data-class")
async def set_data_class(
    conversation: str, body: DataClass, deps: App, person: Person
) -> ClassedConversation:
    """Release a conversation for the cloud, or take it back. It holds from its next message on.

    `conversation` is the name of a web conversation of one's own, or the id of any conversation.
    """
    subject = _conversation_of(deps, person, conversation)
    operation = "conversation.release" if body.data_class == "shareable" else "conversation.keep"
    decision = await decide_admin(deps, person, operation, subject=subject)
    await deps.data_classes.set(subject, body.data_class, decision_id=decision.decision_id)
    return ClassedConversation(conversation=subject, data_class=body.data_class)


def _conversation_of(deps: AppDeps, person: Principal, given: str) -> str:
    return given if CONVERSATION_ID.fullmatch(given) else workflow_of(deps, person, given)
