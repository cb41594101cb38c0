"""The one place where errors become HTTP: RFC 9457 problem documents."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from portico.errors import PorticoError, Refused, Unavailable
from portico.logs import logger
from portico.problems import first_problem

MEDIA_TYPE = "application/problem+json"
UNAVAILABLE_RETRY_S = 2

_PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
    },
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "Not possible", "content": {MEDIA_TYPE: {"schema": _PROBLEM_SCHEMA}}},
    "5XX": {"description": "Not possible now", "content": {MEDIA_TYPE: {"schema": _PROBLEM_SCHEMA}}},
}
"""What every route may answer, for the OpenAPI document."""

log = logger("edge")


def problem(
    status: int,
    code: str,
    title: str,
    *,
    headers: dict[str, str] | None = None,
    details: Mapping[str, Any] | None = None,
) -> Response:
    """A problem document. `code` is ours and stable; `title` is for people; `details` are members of their own."""
    members = {"type": f"urn:portico:{code}", "title": title, "status": status, "code": code}
    body = orjson.dumps({**(details or {}), **members})
    return Response(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(PorticoError, _portico_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)


async def _portico_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PorticoError)
    headers: dict[str, str] = {}
    if isinstance(error, Refused):
        headers["WWW-Authenticate"] = "Bearer"
    retry_after_s = getattr(error, "retry_after_s", None)
    if isinstance(error, Unavailable) or retry_after_s:
        headers["Retry-After"] = str(math.ceil(retry_after_s or UNAVAILABLE_RETRY_S))
    if error.http_status >= 500:
        log.warning("edge.error", code=error.code, path=request.url.path)
    return problem(error.http_status, error.code, error.message, headers=headers, details=error.details)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem(422, "invalid_request", first_problem(error).line())


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers) if error.headers else None
    return problem(error.status_code, "http_error", str(error.detail), headers=headers)


async def _bug(request: Request, error: Exception) -> Response:
    log.error("edge.bug", path=request.url.path, exc_info=error)
    return problem(500, "internal", "something went wrong here; it is in the log")
