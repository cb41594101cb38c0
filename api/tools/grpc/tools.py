"""`portico.v1.Tools`: tool runs by gRPC, as by REST and MCP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import grpc

from api.deps import AppDeps
from api.tools import runs
from api.tools.grpc import convert
from api.tools.grpc import tools_pb2 as pb
from api.tools.grpc.errors import abort
from portico.errors import BadInput, PorticoError, Refused
from portico.storage.access import Principal

NAME = "portico.v1.Tools"
LONGEST_WAIT_S = 60.0
MARGIN_S = 0.25
"""Kept back of a call's deadline, so that its answer arrives before it."""
STOPPED_WITHIN_S = 5.0

Request = TypeVar("Request")
Context = Any
"""`grpc.aio.ServicerContext`; grpc brings no types."""


class Tools:
    """The service. Each method asks first who calls."""

    def __init__(self, deps: AppDeps) -> None:
        self._deps = deps

    def handler(self) -> grpc.GenericRpcHandler:
        methods = {
            "List": _unary(self._list, pb.ListRequest),
            "Invoke": _unary(self._invoke, pb.InvokeRequest),
            "Cancel": _unary(self._cancel, pb.CancelRequest),
            "Watch": grpc.unary_stream_rpc_method_handler(
                self._watch, pb.WatchRequest.FromString, pb.ToolEvent.SerializeToString
            ),
        }
        return grpc.method_handlers_generic_handler(NAME, methods)

    async def _list(self, request: pb.ListRequest, context: Context) -> pb.ListResponse:
        await self._person(context)
        known = await self._deps.tools.read()
        return pb.ListResponse(tools=[convert.tool(spec) for spec in known.specs])

    async def _invoke(self, request: pb.InvokeRequest, context: Context) -> pb.ExecutionResult:
        person = await self._person(context)
        wait_s = _wait_s(request.wait_s, context)
        invocation_id = await runs.start(
            self._deps,
            person,
            convert.invocation(request),
            key=request.idempotency_key or None,
            via="grpc",
        )
        if not wait_s:
            return convert.result(runs.running(invocation_id, request.tool_name))
        found = await runs.result(self._deps, person, invocation_id, wait_s=_wait_s(wait_s, context))
        return convert.result(found)

    async def _cancel(self, request: pb.CancelRequest, context: Context) -> pb.ExecutionResult:
        person = await self._person(context)
        await runs.cancel(self._deps, person, request.invocation_id)
        wait_s = _wait_s(STOPPED_WITHIN_S, context)
        return convert.result(await runs.result(self._deps, person, request.invocation_id, wait_s=wait_s))

    async def _watch(self, request: pb.WatchRequest, context: Context) -> AsyncIterator[pb.ToolEvent]:
        try:
            person = await self._person(context)
            happening = runs.watch(self._deps, person, request.invocation_id)
            with self._deps.limits.watching(person.person_id):
                async for event in happening:
                    yield convert.event(event)
        except PorticoError as error:
            await abort(context, error)

    async def _person(self, context: Context) -> Principal:
        given = dict(context.invocation_metadata() or ()).get("authorization", "")
        scheme, _, token = str(given).partition(" ")
        found = await self._deps.access.check_key(token.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            raise Refused("no valid key")
        return found


def _unary(method: Callable[[Any, Context], Awaitable[Any]], request: type[Request]) -> grpc.RpcMethodHandler:
    async def answered(given: Request, context: Context) -> Any:
        try:
            return await method(given, context)
        except PorticoError as error:
            await abort(context, error)

    return grpc.unary_unary_rpc_method_handler(
        answered,
        request.FromString,  # type: ignore[attr-defined]
        lambda answer: answer.SerializeToString(),
    )


def _wait_s(wanted_s: float, context: Context) -> float:
    """No longer than the caller waits: then they get the run's id instead of nothing."""
    if not 0 <= wanted_s <= LONGEST_WAIT_S:
        raise BadInput(f"wait_s lies between 0 and {LONGEST_WAIT_S:g}")
    left_s = context.time_remaining()
    return wanted_s if left_s is None else max(min(wanted_s, left_s - MARGIN_S), 0.0)
