"""The routes that make, find and end sandboxes. Each needs the API key."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.http import Refused, read_json, require_key, sandboxes, settings, text, text_map
from sandbox.sandboxes import TEMPLATES, Sandbox, TooMany

ENVD_VERSION = "0.6.7"


async def create(request: Request) -> Response:
    require_key(request)
    body = await read_json(request)
    template = text(body, "templateID", "base")
    if template not in TEMPLATES:
        raise Refused(404, f"template {template[:64]!r} not found; there are {', '.join(TEMPLATES)}")
    for name in ("mcp", "volumeMounts"):
        if body.get(name):
            raise Refused(400, f"{name} is not supported")
    timeout_s = _timeout(request, body)
    metadata, env = text_map(body.get("metadata"), "metadata"), text_map(body.get("envVars"), "envVars")
    try:
        sandbox = await sandboxes(request).create(template, timeout_s, metadata, env)
    except TooMany:
        message = f"there are {settings(request).most} sandboxes, and more are not allowed"
        return JSONResponse({"code": 429, "message": message}, 429, headers={"Should-Retry": "false"})
    return JSONResponse(_opened(sandbox), 201)


async def connect(request: Request) -> Response:
    sandbox = _named(request)
    sandbox.extend(_timeout(request, await read_json(request)), shorten=False)
    return JSONResponse(_opened(sandbox))


async def show(request: Request) -> Response:
    sandbox = _named(request)
    return JSONResponse({**_described(request, sandbox), "envdAccessToken": sandbox.access_token})


async def list_all(request: Request) -> Response:
    require_key(request)
    query = request.query_params
    pairs = parse_qsl(query.get("metadata", ""))
    wanted = {unquote(name): unquote(value) for name, value in pairs}  # the SDKs quote twice
    states = query.get("state", "running").split(",")
    found = sorted(sandboxes(request).all(), key=lambda each: (each.started, each.id), reverse=True)
    matching = [each for each in found if wanted.items() <= each.metadata.items() and "running" in states]
    try:
        start, limit = int(query.get("nextToken", "0")), min(max(int(query.get("limit", "100")), 1), 100)
    except ValueError:
        raise Refused(400, "limit and nextToken must be numbers") from None
    more = {"x-next-token": str(start + limit)} if start >= 0 and start + limit < len(matching) else {}
    page = matching[max(start, 0) :][:limit]
    return JSONResponse([_described(request, each) for each in page], headers=more)


async def kill(request: Request) -> Response:
    sandboxes(request).kill(_named(request), "it was killed")
    return Response(status_code=204)


async def set_timeout(request: Request) -> Response:
    sandbox = _named(request)
    sandbox.extend(_timeout(request, await read_json(request)), shorten=True)
    return Response(status_code=204)


async def metrics(request: Request) -> Response:
    sandbox, limits, now = _named(request), settings(request).limits, datetime.now(UTC)
    measured = {
        "timestamp": _time(now),
        "timestampUnix": int(now.timestamp()),
        "cpuCount": limits.cpus,
        "cpuUsedPct": sandbox.cpu_used_percent(),
        "memUsed": sandbox.memory_used(),
        "memTotal": limits.memory_bytes,
        "memCache": 0,
        "diskUsed": 0,
        "diskTotal": limits.home_bytes,
    }
    return JSONResponse([measured])


async def unsupported(request: Request) -> Response:
    require_key(request)
    return JSONResponse(
        {"code": 501, "message": f"{request.url.path.rsplit('/', 1)[-1]} is not supported"}, 501
    )


def _named(request: Request) -> Sandbox:
    require_key(request)
    wanted = request.path_params["id"]
    try:
        return sandboxes(request).find(wanted)
    except KeyError:
        raise Refused(404, f"sandbox {wanted[:64]} not found") from None


def _timeout(request: Request, body: dict[str, Any]) -> float:
    limits = settings(request).limits
    seconds = body.get("timeout", limits.timeout_s)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise Refused(400, "timeout must be a number of seconds")
    if seconds > limits.longest_timeout_s:
        raise Refused(400, f"timeout is at most {limits.longest_timeout_s} seconds")
    return float(seconds)


def _opened(sandbox: Sandbox) -> dict[str, Any]:
    return {
        "templateID": sandbox.template,
        "sandboxID": sandbox.id,
        "clientID": "local",
        "envdVersion": ENVD_VERSION,
        "envdAccessToken": sandbox.access_token,
        "trafficAccessToken": sandbox.traffic_token,
        "domain": None,
    }


def _described(request: Request, sandbox: Sandbox) -> dict[str, Any]:
    limits = settings(request).limits
    return {
        "templateID": sandbox.template,
        "sandboxID": sandbox.id,
        "clientID": "local",
        "startedAt": _time(sandbox.started),
        "endAt": _time(sandbox.ends),
        "envdVersion": ENVD_VERSION,
        "cpuCount": limits.cpus,
        "memoryMB": limits.memory_bytes >> 20,
        "diskSizeMB": limits.home_bytes >> 20,
        "state": "running",
        "metadata": sandbox.metadata,
    }


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


ROUTES = [
    Route("/sandboxes", create, methods=["POST"]),
    Route("/v2/sandboxes", create, methods=["POST"]),
    Route("/sandboxes", list_all, methods=["GET"]),
    Route("/v2/sandboxes", list_all, methods=["GET"]),
    Route("/sandboxes/{id}/connect", connect, methods=["POST"]),
    Route("/v2/sandboxes/{id}/connect", connect, methods=["POST"]),
    Route("/sandboxes/{id}", show, methods=["GET"]),
    Route("/sandboxes/{id}", kill, methods=["DELETE"]),
    Route("/sandboxes/{id}/timeout", set_timeout, methods=["POST"]),
    Route("/sandboxes/{id}/metrics", metrics, methods=["GET"]),
    Route("/sandboxes/{id}/network", unsupported, methods=["PUT"]),
    *(
        Route(f"/sandboxes/{{id}}/{name}", unsupported, methods=["POST"])
        for name in ("pause", "resume", "snapshots", "fork")
    ),
]
