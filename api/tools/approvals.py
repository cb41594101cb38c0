"""`/v1/approvals`: runs that wait for a person's yes, and the answer. Policy then decides again about exactly that."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel
from temporalio.client import WorkflowUpdateFailedError
from temporalio.service import RPCError, RPCStatusCode

from api.admin.decide import decide_admin
from api.body import BodyRoute
from api.deps import App, AppDeps, Person
from api.intake import RPC_TIMEOUT
from api.tools import runs
from portico.contracts import names
from portico.contracts.messages import Actor
from portico.contracts.tool_steps import ApprovalAnswer, ToolWaiting
from portico.errors import Conflict, Forbidden, NotFound, Unavailable
from portico.storage.access import Principal

router = APIRouter(tags=["tools"], route_class=BodyRoute)

OPERATION = "tool.approve"
UPDATE_S = 10.0
OPEN_RUNS = "WorkflowType = 'ToolRun' AND ExecutionStatus = 'Running'"


class ApprovalBody(BaseModel):
    """Yes or no to exactly the call that waits."""

    approved: bool


class Taken(BaseModel):
    invocation_id: str
    approved: bool


class ListedApproval(BaseModel):
    """A call that waits, as the person who answers should see it."""

    invocation_id: str
    tool: str
    parameters: str
    effects: str
    risk: str
    reasons: tuple[str, ...]
    expires_at: float
    self_approval: bool


@router.get("/v1/approvals")
async def list_approvals(
    deps: App, person: Person, limit: Annotated[int, Query(ge=1, le=100)] = 50
) -> list[ListedApproval]:
    """What waits for this person: their own runs; for the owner and admins, all."""
    found: list[ListedApproval] = []
    async for one in deps.temporal.list_workflows(OPEN_RUNS, limit=4 * limit):
        waiting = await _waiting(deps, person, one.id)
        if waiting is not None and len(found) < limit:
            found.append(_shown(waiting))
    return found


@router.post("/v1/approvals/{invocation_id}")
async def answer_approval(invocation_id: str, body: ApprovalBody, deps: App, person: Person) -> Taken:
    """The owner and admins answer for anybody; who asked, where policy lets them, and always with no."""
    handle = await runs.run_of(deps, person, invocation_id, anybodys=True)
    state = await runs.progress_of(deps, handle)
    if state.waiting is None:
        raise Conflict("this run does not wait for an approval")
    decision_id = await _decided(deps, person, invocation_id, state.waiting, body)
    answer = ApprovalAnswer(
        approved=body.approved,
        by=Actor(id=person.person_id, role=person.role, paired=True),
        decision_id=decision_id,
    )
    try:
        async with asyncio.timeout(UPDATE_S):
            await handle.execute_update(names.DECIDE_APPROVAL, answer, rpc_timeout=RPC_TIMEOUT)
    except WorkflowUpdateFailedError:
        raise Conflict("this run does not wait for an approval any more") from None
    except TimeoutError:
        raise Unavailable("the worker", "it does not take the answer now") from None
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise Conflict("this run has ended") from None
        raise Unavailable("Temporal", "it does not take the answer") from error
    return Taken(invocation_id=invocation_id, approved=body.approved)


async def _decided(
    deps: AppDeps, person: Principal, invocation_id: str, waiting: ToolWaiting, body: ApprovalBody
) -> str:
    """The id of the decision that lets this person answer; none is needed for what is one's own."""
    own = await runs.is_invoker(deps, person, invocation_id)
    if own and (waiting.self_approval or not body.approved):
        return ""
    try:
        return (await decide_admin(deps, person, OPERATION, subject=invocation_id)).decision_id
    except Forbidden:
        if own:
            raise
        raise NotFound("the invocation") from None  # another's run is as good as none


async def _waiting(deps: AppDeps, person: Principal, invocation_id: str) -> ToolWaiting | None:
    try:
        handle = await runs.run_of(deps, person, invocation_id)
    except NotFound:
        return None
    return (await runs.progress_of(deps, handle)).waiting


def _shown(waiting: ToolWaiting) -> ListedApproval:
    facts: dict[str, Any] = waiting.model_dump()
    return ListedApproval(
        **{name: facts[name] for name in ListedApproval.model_fields if name in facts},
        tool=waiting.tool_name,
        parameters=waiting.parameters_shown,
    )
