"""`/v1/tools` and `/v1/invocations`: tools by REST. Each call is a durable `ToolRun`, decided by policy inside it."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, JsonValue
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from api.body import BodyRoute
from api.deps import App, AppDeps, Person
from api.intake import RPC_TIMEOUT, TASK_QUEUE
from portico.contracts import Actor, ExecutionError, ExecutionResult, ExecutionStatus, ToolInvocation
from portico.errors import BadInput, NotFound, Unavailable
from portico.ids import keyed_id
from portico.steps import ToolRunInput
from portico.storage.access import Principal

router = APIRouter(tags=["tools"], route_class=BodyRoute)

WORKFLOW = "ToolRun"
ADMINS = ("owner", "admin")

IdempotencyKey = Annotated[str | None, Header(max_length=255)]
ENDED: dict[int | str, dict[str, Any]] = {
    200: {"model": ExecutionResult, "description": "It ended within `wait_s`"}
}

Wait = Annotated[float, Query(ge=0, le=60)]


class ToolInfo(BaseModel):
    """A tool as it declares itself; `parameters` is a JSON schema."""

    name: str
    description: str
    effects: str
    risk: str
    parameters: dict[str, Any]


class Parameters(BaseModel):
    """An invocation without its tool's name, which the path gives."""

    parameters: dict[str, JsonValue] = {}


@router.get("/v1/tools")
async def list_tools(deps: App, person: Person) -> list[ToolInfo]:
    """Every tool, whether or not policy lets this person run it."""
    return [
        ToolInfo(
            name=spec.name,
            description=spec.description,
            effects=spec.effects,
            risk=spec.risk,
            parameters=spec.parameters,
        )
        for spec in deps.tools
    ]


@router.post("/v1/invocations", status_code=202, responses=ENDED)
async def invoke(
    body: ToolInvocation,
    response: Response,
    deps: App,
    person: Person,
    wait_s: Wait = 0,
    idempotency_key: IdempotencyKey = None,
) -> ExecutionResult:
    """202 and `Location` at once, or 200 with the result where it comes within `wait_s`."""
    if body.callback_url:
        raise BadInput("callbackUrl is not delivered yet; use wait_s or GET the invocation")
    invocation_id = _invocation_id(deps, person, idempotency_key)
    handle = await _start(deps, person, body, invocation_id)
    response.headers["Location"] = f"/v1/invocations/{invocation_id}"
    result = await _result(handle, wait_s=wait_s) if wait_s else None
    if result is not None:
        response.status_code = 200
    return result or _running(invocation_id, body.tool_name)


@router.post("/v1/tools/{name}/invocations", status_code=202, responses=ENDED)
async def invoke_named(
    name: str,
    body: Parameters,
    response: Response,
    deps: App,
    person: Person,
    wait_s: Wait = 0,
    idempotency_key: IdempotencyKey = None,
) -> ExecutionResult:
    """The same with the tool in the path."""
    invocation = ToolInvocation(tool_name=name, parameters=body.parameters)
    return await invoke(invocation, response, deps, person, wait_s, idempotency_key)


@router.get("/v1/invocations/{invocation_id}")
async def read_invocation(invocation_id: str, deps: App, person: Person, wait_s: Wait = 0) -> ExecutionResult:
    """What became of an invocation of this person; the owner and admins read all."""
    if person.role not in ADMINS and not invocation_id.startswith(_prefix(deps, person)):
        raise NotFound("the invocation")
    handle = deps.temporal.get_workflow_handle(invocation_id, result_type=ExecutionResult)
    try:
        description = await handle.describe(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        raise _translated(error) from error
    if description.workflow_type != WORKFLOW:
        raise NotFound("the invocation")
    return await _result(handle, wait_s=max(wait_s, 0.05)) or _running(invocation_id, "")


async def _start(
    deps: AppDeps, person: Principal, invocation: ToolInvocation, invocation_id: str
) -> WorkflowHandle[Any, ExecutionResult]:
    given = ToolRunInput(
        invocation_id=invocation_id,
        invocation=invocation,
        actor=Actor(id=person.person_id, role=person.role, paired=True),
    )
    try:
        return await deps.temporal.start_workflow(
            WORKFLOW,
            given,
            id=invocation_id,
            task_queue=TASK_QUEUE,
            result_type=ExecutionResult,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=f"{invocation.tool_name} through the edge",
            rpc_timeout=RPC_TIMEOUT,
        )
    except WorkflowAlreadyStartedError:
        return deps.temporal.get_workflow_handle(invocation_id, result_type=ExecutionResult)
    except (RPCError, RuntimeError) as error:
        raise _translated(error) from error


async def _result(handle: WorkflowHandle[Any, ExecutionResult], *, wait_s: float) -> ExecutionResult | None:
    """The result, or nothing where it takes longer."""
    try:
        async with asyncio.timeout(wait_s):
            return await handle.result()
    except TimeoutError:
        return None
    except WorkflowFailureError:
        error = ExecutionError(code="failed", message="the run ended without a result")
        return _running(handle.id, "").model_copy(update={"status": ExecutionStatus.FAILED, "error": error})
    except RPCError as error:
        raise _translated(error) from error


def _translated(error: Exception) -> NotFound | Unavailable:
    if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
        return NotFound("the invocation")
    return Unavailable("Temporal", "it does not take the call")


def _running(invocation_id: str, tool_name: str) -> ExecutionResult:
    return ExecutionResult(
        invocation_id=invocation_id,
        tool_name=tool_name,
        status=ExecutionStatus.RUNNING,
        started_at=datetime.now(UTC),
    )


def _invocation_id(deps: AppDeps, person: Principal, key: str | None) -> str:
    """The same key of the same person is the same run; its id tells whose it is to nobody without the id key."""
    secret = deps.keyring.current("id").secret
    suffix = keyed_id(secret, "invocation", person.person_id, key) if key else uuid.uuid4().hex
    return _prefix(deps, person) + suffix


def _prefix(deps: AppDeps, person: Principal) -> str:
    secret = deps.keyring.current("id").secret
    return f"tool-{keyed_id(secret, 'invoker', person.person_id)[:12]}-"
