"""`/temporal/`: the history UI, behind the owner's session and for reading only.

The UI server listens on loopback without authentication. What passes here are reads; an action (terminate,
signal, reset) would be an effect without a decision of policy, so it is refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask

from api.deps import App, AppDeps, Owner
from portico.connections import part_address
from portico.errors import Unavailable

router = APIRouter(tags=["history"])

SETTINGS_PATH = "api/v1/settings"
KEPT_REQUEST_HEADERS = (
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
    upstream = await _open(request, deps, path)
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
        "Endpoint": f"{request.url.scheme}://{request.headers['host']}/codec",
        "PassAccessToken": False,
        "IncludeCredentials": True,
    }
    settings["DisableWriteActions"] = True
    return Response(orjson.dumps(settings), media_type="application/json")


async def _open(request: Request, deps: AppDeps, path: str) -> httpx2.Response:
    address = part_address(deps.home, "temporal-ui")
    if address is None:
        raise Unavailable("the history UI", "it runs elsewhere")
    headers = {name: request.headers[name] for name in KEPT_REQUEST_HEADERS if name in request.headers}
    url = httpx2.URL(f"http://{address}/temporal/{path}", query=request.url.query.encode())
    try:
        return await _client(request).send(
            _client(request).build_request("GET", url, headers=headers), stream=True
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
