"""Where errors become gRPC's: a status, a line for people, and details in Google's usual messages."""

from __future__ import annotations

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details
from google.rpc.status_pb2 import Status

from portico.errors import PorticoError, Unavailable
from portico.logs import logger

DOMAIN = "portico"
STATUS_DETAILS = "grpc-status-details-bin"
UNAVAILABLE_RETRY_S = 2.0
CODES: dict[int, grpc.StatusCode] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}

log = logger("edge")


async def abort(context: grpc.aio.ServicerContext, error: PorticoError) -> None:
    """End the call with this error. Raises grpc's own."""
    code = CODES.get(error.http_status, grpc.StatusCode.INTERNAL)
    if error.http_status >= 500:
        log.warning("edge.error", code=error.code, interface="grpc")
    status = Status(code=code.value[0], message=error.message)
    for detail in _details(error):
        packed = Packed()
        packed.Pack(detail)
        status.details.append(packed)
    await context.abort(code, error.message, ((STATUS_DETAILS, status.SerializeToString()),))


def _details(error: PorticoError) -> list[Message]:
    told = getattr(error, "details", {})
    info = {"nearest": ",".join(told["nearest"])} if told.get("nearest") else {}
    found: list[Message] = [details.ErrorInfo(reason=error.code, domain=DOMAIN, metadata=info)]
    if told.get("faults"):
        violations = [
            details.BadRequest.FieldViolation(field=fault["path"], description=fault["message"])
            for fault in told["faults"]
        ]
        found.append(details.BadRequest(field_violations=violations))
    wait_s = getattr(error, "retry_after_s", None)
    if wait_s or isinstance(error, Unavailable):
        retry = details.RetryInfo()
        retry.retry_delay.FromMilliseconds(int((wait_s or UNAVAILABLE_RETRY_S) * 1000))
        found.append(retry)
    return found
