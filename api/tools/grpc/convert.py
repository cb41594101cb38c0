"""Between gRPC's messages and Portico's contracts."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import orjson
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from api.tools.grpc import tools_pb2 as pb
from api.tools.runs import ToolEvent
from portico.contracts.messages import ExecutionResult, ToolInvocation
from portico.errors import Unreadable
from portico.tool import ToolSpec

EXACT = 2**53
"""A double, which is what gRPC's JSON numbers are, holds whole numbers up to here."""
DEEPEST = 64


def invocation(request: pb.InvokeRequest) -> ToolInvocation:
    """Raises `Unreadable` for parameters that are no JSON object."""
    return ToolInvocation(
        tool_name=request.tool_name,
        parameters=_parameters(request),
        callback_url=request.callback_url or None,
    )


def tool(spec: ToolSpec) -> pb.Tool:
    return pb.Tool(
        name=spec.name,
        description=spec.description,
        parameters=ParseDict(_plain(spec.parameters), Struct()),
        effects=spec.effects,
        risk=spec.risk,
        unavailable=spec.unavailable,
    )


def result(of: ExecutionResult) -> pb.ExecutionResult:
    message = pb.ExecutionResult(
        invocation_id=of.invocation_id,
        tool_name=of.tool_name,
        status=f"EXECUTION_STATUS_{of.status.name}",
        decision_id=of.decision_id,
        started_at=_time(of.started_at),
    )
    if of.output is not None:
        message.output.CopyFrom(ParseDict(_plain(of.output), Value()))
    for artifact in of.artifacts:
        message.artifacts.add(
            name=artifact.name,
            media_type=artifact.media_type,
            size_bytes=artifact.size_bytes,
            url=artifact.url,
        )
    if of.error is not None:
        message.error.CopyFrom(pb.ExecutionError(code=of.error.code, message=of.error.message))
    if of.ended_at is not None:
        message.ended_at.CopyFrom(_time(of.ended_at))
    return message


def event(of: ToolEvent) -> pb.ToolEvent:
    if of.kind == "ended" and of.result is not None:
        return pb.ToolEvent(ended=result(of.result))
    if of.kind == "waiting":
        waiting = pb.Waiting(parameters=of.text)
        if of.expires_at is not None:
            waiting.expires_at.CopyFrom(_time(of.expires_at))
        return pb.ToolEvent(waiting=waiting)
    return pb.ToolEvent(progress=pb.Progress(text=of.text, fraction=of.fraction))


def _parameters(request: pb.InvokeRequest) -> dict[str, Any]:
    if request.WhichOneof("arguments") != "parameters_json":
        return {name: _exact(value) for name, value in MessageToDict(request.parameters).items()}
    try:
        given = orjson.loads(request.parameters_json)
    except orjson.JSONDecodeError:
        raise Unreadable("parameters_json", "not JSON") from None
    if not isinstance(given, dict):
        raise Unreadable("parameters_json", "no JSON object")
    return given


def _exact(value: Any) -> Any:
    """`17.0` is how gRPC carries 17; the other interfaces return 17."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT:
        return int(value)
    if isinstance(value, dict):
        return {name: _exact(inner) for name, inner in value.items()}
    return [_exact(inner) for inner in value] if isinstance(value, list) else value


def _plain(value: Any, depth: int = 0) -> Any:
    """JSON as a `Value` can hold it: numbers that a double would change are text, as is what is nested too deep."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if depth > DEEPEST:
        return orjson.dumps(value).decode()
    if isinstance(value, int | float):
        return (
            value
            if abs(value) <= EXACT or (isinstance(value, float) and math.isfinite(value))
            else str(value)
        )
    if isinstance(value, dict):
        return {str(name): _plain(inner, depth + 1) for name, inner in value.items()}
    return [_plain(inner, depth + 1) for inner in value]


def _time(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
