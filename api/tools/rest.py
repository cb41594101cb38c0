"""`/v1/tools` and `/v1/invocations`: tools by REST. Each call is a durable `ToolRun`, decided by policy inside it."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, JsonValue

from api.body import BodyRoute
from api.deps import App, Person
from api.tools import runs
from portico.contracts.messages import ADMIN_ROLES, ExecutionResult, ToolInvocation
from portico.errors import NotFound

router = APIRouter(tags=["tools"], route_class=BodyRoute)

IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=255)]
ENDED: dict[int | str, dict[str, Any]] = {
    200: {"model": ExecutionResult, "description": "It ended within `wait_s`"}
}
HIDDEN = {"output_blob"}
"""Large outputs are read back; where they are stored is internal."""

Wait = Annotated[float, Query(ge=0, le=60)]


class ToolInfo(BaseModel):
    """A tool as it declares itself; `parameters` is a JSON schema. `unavailable` says why it cannot run now."""

    name: str
    description: str
    effects: str
    risk: str
    parameters: dict[str, Any]
    repeatable: bool = False
    source: str = "function"
    unavailable: str = ""
    content_hash: str = ""


class Parameters(BaseModel):
    """An invocation without its tool's name, which the path gives."""

    parameters: dict[str, JsonValue] = {}
    callbackUrl: str | None = None  # noqa: N815 - one of the mission's two camelCase objects


class ToolProblems(BaseModel):
    """What is wrong with files and servers that should give tools, one line each."""

    problems: tuple[str, ...] = ()


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
            repeatable=spec.repeatable,
            source=spec.source,
            unavailable=spec.unavailable,
            content_hash=spec.content_hash,
        )
        for spec in await deps.tools.list()
    ]


@router.get("/v1/tool-problems")
async def list_problems(deps: App, person: Person) -> ToolProblems:
    """Files that could not be read and names that are taken, for the owner and admins; empty for others."""
    known = await deps.tools.read()
    return ToolProblems(problems=known.problems if person.role in ADMIN_ROLES else ())


@router.post("/v1/invocations", status_code=202, responses=ENDED, response_model_exclude=HIDDEN)
async def invoke(
    body: ToolInvocation,
    response: Response,
    deps: App,
    person: Person,
    wait_s: Wait = 0,
    idempotency_key: IdempotencyKey = None,
) -> ExecutionResult:
    """202 and `Location` at once, or 200 with the result where it comes within `wait_s`."""
    invocation_id = await runs.start(deps, person, body, key=idempotency_key)
    response.headers["Location"] = f"/v1/invocations/{invocation_id}"
    if not wait_s:
        return runs.running(invocation_id, body.tool_name)
    result = await runs.result(deps, person, invocation_id, wait_s=wait_s)
    if result.ended_at is not None:
        response.status_code = 200
    return result


@router.post("/v1/tools/{name}/invocations", status_code=202, responses=ENDED, response_model_exclude=HIDDEN)
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
    invocation = ToolInvocation(tool_name=name, parameters=body.parameters, callback_url=body.callbackUrl)
    return await invoke(invocation, response, deps, person, wait_s, idempotency_key)


@router.get("/v1/invocations/{invocation_id}", response_model_exclude=HIDDEN)
async def read_invocation(invocation_id: str, deps: App, person: Person, wait_s: Wait = 0) -> ExecutionResult:
    """What became of an invocation of this person; the owner and admins read all."""
    return await runs.result(deps, person, invocation_id, wait_s=wait_s)


@router.post(
    "/v1/invocations/{invocation_id}/cancel", status_code=202, responses=ENDED, response_model_exclude=HIDDEN
)
async def stop_invocation(
    invocation_id: str, response: Response, deps: App, person: Person, wait_s: Wait = 0
) -> ExecutionResult:
    """Ask it to stop; 200 with the result where it has ended, or does within `wait_s`."""
    await runs.cancel(deps, person, invocation_id)
    result = await runs.result(deps, person, invocation_id, wait_s=wait_s)
    if result.ended_at is not None:
        response.status_code = 200
    return result


@router.delete("/v1/invocations/{invocation_id}", status_code=202)
async def cancel_invocation(invocation_id: str, deps: App, person: Person) -> None:
    """Ask it to stop. How it ended is read like any result."""
    await runs.cancel(deps, person, invocation_id)


@router.get(
    "/v1/invocations/{invocation_id}/artifacts/{name}",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "The file"}},
)
async def read_artifact(invocation_id: str, name: str, deps: App, person: Person) -> Response:
    """A file that a run kept, for who asked for the run, the owner and admins."""
    kept = await deps.artifacts.find(invocation_id, name)
    if person.role not in ADMIN_ROLES and kept.person_id != person.person_id:
        raise NotFound("the artifact")
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(kept.name)}",
        "Cache-Control": "private, no-store",
    }
    # A browser must not run what a tool made as a page of this origin.
    safe = kept.media_type if kept.media_type.startswith(("image/png", "image/jpeg")) else None
    content = await deps.artifacts.content(kept)
    return Response(content, media_type=safe or "application/octet-stream", headers=headers)
