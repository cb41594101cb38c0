"""Errors in the shape that OpenAI's clients read, for the OpenAI-compatible paths alone."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api.body import AttachmentsRoute, Handler
from api.deps import app_deps
from portico.errors import (
    BadInput,
    Busy,
    Forbidden,
    Misconfigured,
    NotFound,
    NotTaken,
    PorticoError,
    Refused,
    TooLarge,
    TooMany,
    Unavailable,
)
from portico.logs import logger
from portico.problems import first_problem

COME_AGAIN_S = 2

_TYPES: tuple[tuple[type[PorticoError], int, str, str], ...] = (
    (Refused, 401, "authentication_error", "invalid_api_key"),
    (Forbidden, 403, "permission_error", "denied_by_policy"),
    (NotFound, 404, "invalid_request_error", "model_not_found"),
    (TooLarge, 413, "invalid_request_error", "too_large"),
    (NotTaken, 400, "invalid_request_error", "refused_by_model"),
    (Busy, 429, "rate_limit_error", "rate_limit_exceeded"),
    (TooMany, 429, "rate_limit_error", "rate_limit_exceeded"),
    (Misconfigured, 502, "server_error", "model_misconfigured"),
    (Unavailable, 503, "server_error", "unavailable"),
)

_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}
ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "Not possible", "content": {"application/json": {"schema": _SCHEMA}}},
    "5XX": {"description": "Not possible now", "content": {"application/json": {"schema": _SCHEMA}}},
}
"""Responses of every route of this endpoint, for the OpenAPI document."""

log = logger("edge")


class OpenAiRoute(AttachmentsRoute):
    """A route whose errors have OpenAI's shape. Bugs are reported as everywhere."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def translated(request: Request) -> Response:
            try:
                return await handle(request)
            except PorticoError as error:
                return refusal(error)
            except RequestValidationError as error:
                return _invalid(error)
            except HTTPException as error:
                body = _body(str(error.detail), "invalid_request_error", "invalid_request", None)
                return _answer(error.status_code, body)

        async def counted(request: Request) -> Response:
            answer = await translated(request)
            metrics = app_deps(request).metrics
            metrics.openai_requests.labels(self.path, str(answer.status_code)).inc()
            return answer

        return counted


class Unsupported(BadInput):
    """Something of OpenAI's that this endpoint does not support. `param` names the field."""

    def __init__(self, param: str, why: str) -> None:
        super().__init__(f"{param}: {why}")
        self.param = param


def refusal(error: PorticoError) -> Response:
    headers = {}
    if isinstance(error, Refused):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, Unavailable | TooMany):
        headers["Retry-After"] = str(math.ceil(error.retry_after_s or COME_AGAIN_S))
    status, body = described(error)
    if status >= 500:
        log.warning("openai.error", code=error.code, why=error.message)
    return _answer(status, body, headers)


def described(error: PorticoError) -> tuple[int, dict[str, Any]]:
    """Status and body; an error in the middle of a stream has only the body."""
    for kind, status, type_, code in _TYPES:
        if isinstance(error, kind):
            return status, _body(error.message, type_, code, getattr(error, "param", None))
    if isinstance(error, BadInput):
        body = _body(error.message, "invalid_request_error", error.code, getattr(error, "param", None))
        return error.http_status, body
    return error.http_status, _body(error.message, "server_error", error.code, None)


def _invalid(error: RequestValidationError) -> Response:
    first = first_problem(error)
    problem = replace(first, place=tuple(step for step in first.place if step != "body"))
    where = ".".join(problem.place) or None
    return _answer(400, _body(problem.line(), "invalid_request_error", "invalid_request", where))


def _answer(status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status_code=status, media_type="application/json", headers=headers)


def _body(message: str, type_: str, code: str, param: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": type_, "param": param, "code": code}}
