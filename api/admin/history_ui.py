"""`/temporal/`: the history UI, behind the owner's session and for reading only.

The UI server listens on loopback without authentication. What passes here are reads, and the queries with which
the page asks for a workflow's details and stack; an action (terminate, signal, reset) would be an effect without
a decision of policy, so it is refused.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator

import httpx2
import orjson
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask

from api.body import read_body
from api.deps import App, AppDeps, Owner
from portico.errors import NotFound, Unavailable
from portico.settings.connections import part_address

router = APIRouter(tags=["history"])

SETTINGS_PATH = "api/v1/settings"
QUERIES = ("__temporal_workflow_metadata", "__stack_trace", "__enhanced_stack_trace")
QUERY_PATH = re.compile(rf"api/v1/namespaces/[^/]+/workflows/[^/]+/query/(?:{'|'.join(QUERIES)})")
QUERY_BODY_LIMIT = 64 * 1024
UPSTREAM_CSRF = secrets.token_hex(16)
KEPT_REQUEST_HEADERS = (
    "content-type",
    "accept",
    "accept-encoding",
    "accept-language",
    "if-none-match",
    "if-modified-since",
    "caller-type",
)
DROPPED_ANSWER_HEADERS = {
    "connection",
    "transfer-encoding",
    "keep-alive",
    "content-security-policy",
    "set-cookie",
}
TIMEOUT_S = 30.0


@router.get("/temporal", include_in_schema=False)
@router.get("/temporal/{path:path}", include_in_schema=False)
async def history(request: Request, deps: App, person: Owner, path: str = "") -> Response:
    """Pass a read on to the UI server."""
    if path == SETTINGS_PATH:
        return await _settings(request, deps)
    return await _passed_on(await _open(request, deps, path))


@router.post("/temporal/{path:path}", include_in_schema=False)
async def query(request: Request, deps: App, person: Owner, path: str) -> Response:
    """Pass a query of the page on: it asks, and changes nothing."""
    if not QUERY_PATH.fullmatch(path):
        raise HTTPException(405, "the history is for reading")
    body = await read_body(request, limit_bytes=QUERY_BODY_LIMIT)
    return await _passed_on(await _open(request, deps, path, body=body))


async def _passed_on(upstream: httpx2.Response) -> Response:
    headers = {
        key: value for key, value in upstream.headers.items() if key.lower() not in DROPPED_ANSWER_HEADERS
    }
    return StreamingResponse(
        _raw(upstream),
        status_code=upstream.status_code,
        headers=headers,
        background=BackgroundTask(upstream.aclose),
    )


async def _settings(request: Request, deps: AppDeps) -> Response:
    """Point the page's codec at the origin that it was loaded from, whatever name that has."""
    upstream = await _open(request, deps, SETTINGS_PATH)
    settings = orjson.loads(await upstream.aread())
    await upstream.aclose()
    settings["Codec"] = {
        **(settings.get("Codec") or {}),
        "Endpoint": f"{_scheme(request, deps)}://{request.headers['host']}/codec",
        "PassAccessToken": False,
        "IncludeCredentials": True,
    }
    settings["DisableWriteActions"] = True
    return Response(orjson.dumps(settings), media_type="application/json")


def _scheme(request: Request, deps: AppDeps) -> str:
    """What the person's browser speaks: TLS may end at a proxy before the edge."""
    return "https" if deps.settings.public_url.startswith("https:") else request.url.scheme


async def _open(request: Request, deps: AppDeps, path: str, *, body: bytes | None = None) -> httpx2.Response:
    address = deps.settings.temporal.ui or part_address(deps.home, "temporal-ui")
    if address is None:
        raise Unavailable("the history UI", "it runs elsewhere")
    headers = {name: request.headers[name] for name in KEPT_REQUEST_HEADERS if name in request.headers}
    if body is not None:
        # The UI server's own defence against forged requests; the edge has its own, before this.
        headers |= {"cookie": f"_csrf={UPSTREAM_CSRF}", "x-csrf-token": UPSTREAM_CSRF}
    try:
        url = httpx2.URL(f"http://{address}/temporal/{path}", query=request.url.query.encode())
    except httpx2.InvalidURL:
        raise NotFound("such a page") from None
    try:
        return await _client(request).send(
            _client(request).build_request(request.method, url, headers=headers, content=body), stream=True
        )
    except httpx2.TransportError as error:
        raise Unavailable("the history UI", type(error).__name__) from error


def _client(request: Request) -> httpx2.AsyncClient:
    """One client for the process, made at the first use; never a proxy of the environment between our parts."""
    state = request.app.state
    if not hasattr(state, "history_client"):
        state.history_client = httpx2.AsyncClient(trust_env=False, timeout=TIMEOUT_S, follow_redirects=False)
    client: httpx2.AsyncClient = state.history_client
    return client


async def _raw(upstream: httpx2.Response) -> AsyncIterator[bytes]:
    async for chunk in upstream.aiter_raw():
        yield chunk
