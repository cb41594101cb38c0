"""The routes that make, find and end sandboxes. Each needs the API key."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.allowed import Allowed, asked_for
from sandbox.http import HttpRefused, read_json, require_key, sandboxes, settings, text, text_map
from sandbox.proxy import open_way_out
from sandbox.record import Sandbox
from sandbox.sandboxes import TEMPLATES, SandboxRequest

ENVD_VERSION = "0.6.7"


async def create(request: Request) -> Response:
    require_key(request)
    body = await read_json(request)
    template = text(body, "templateID", "base")
    if template not in TEMPLATES and template not in sandboxes(request).snapshots:
        raise HttpRefused(404, f"template {template[:64]!r} not found; there are {', '.join(TEMPLATES)}")
    for name in ("mcp", "volumeMounts", "iam"):
        if body.get(name):
            raise HttpRefused(400, f"{name} is not supported")
    resumes = body.get("autoResume")
    wanted = SandboxRequest(
        template=template,
        timeout_s=timeout_of(request, body),
        metadata=text_map(body.get("metadata"), "metadata"),
        env=text_map(body.get("envVars"), "envVars"),
        pauses=body.get("autoPause") is True,
        resumes=isinstance(resumes, dict) and resumes.get("enabled") is True,
        allowed=_allowed(request, body),
    )
    return JSONResponse(opened(await sandboxes(request).create(wanted)), 201)


async def show(request: Request) -> Response:
    sandbox = named(request)
    return JSONResponse({**described(request, sandbox), "envdAccessToken": sandbox.access_token})


async def list_all(request: Request) -> Response:
    require_key(request)
    query = request.query_params
    pairs = parse_qsl(query.get("metadata", ""))
    wanted = {unquote(name): unquote(value) for name, value in pairs}  # the SDKs quote twice
    states = set(query.get("state", "running,paused").split(","))
    ordered = sorted(sandboxes(request).all(), key=lambda each: (each.started, each.id), reverse=True)
    matching = [
        each for each in ordered if wanted.items() <= each.metadata.items() and _state(each) in states
    ]
    try:
        start, limit = int(query.get("nextToken", "0")), min(max(int(query.get("limit", "100")), 1), 100)
    except ValueError:
        raise HttpRefused(400, "limit and nextToken must be numbers") from None
    more = {"x-next-token": str(start + limit)} if start >= 0 and start + limit < len(matching) else {}
    page = matching[max(start, 0) :][:limit]
    return JSONResponse([described(request, each) for each in page], headers=more)


async def kill(request: Request) -> Response:
    sandboxes(request).kill(named(request), "it was killed")
    return Response(status_code=204)


async def set_timeout(request: Request) -> Response:
    sandbox = named(request)
    sandbox.extend(timeout_of(request, await read_json(request)), shorten=True)
    return Response(status_code=204)


async def metrics(request: Request) -> Response:
    sandbox, limits, now = named(request), settings(request).limits, datetime.now(UTC)
    if sandbox.paused:
        return JSONResponse([])
    measured = {
        "timestamp": _time(now),
        "timestampUnix": int(now.timestamp()),
        "cpuCount": limits.cpus,
        "cpuUsedPct": sandbox.cpu_used_percent(),
        "memUsed": sandbox.memory_used(),
        "memTotal": limits.memory_bytes,
        "memCache": 0,
        "diskUsed": await _disk_used(sandbox),
        "diskTotal": limits.home_bytes,
    }
    return JSONResponse([measured])


def named(request: Request) -> Sandbox:
    require_key(request)
    wanted = request.path_params["id"]
    try:
        return sandboxes(request).find(wanted)
    except KeyError:
        raise HttpRefused(404, f"sandbox {wanted[:64]} not found") from None


def timeout_of(request: Request, body: dict[str, Any]) -> float:
    limits = settings(request).limits
    seconds = body.get("timeout", limits.timeout_s)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise HttpRefused(400, "timeout must be a number of seconds")
    if seconds > limits.longest_timeout_s:
        raise HttpRefused(400, f"timeout is at most {limits.longest_timeout_s} seconds")
    return float(seconds)


def opened(sandbox: Sandbox) -> dict[str, Any]:
    return {
        "templateID": sandbox.template,
        "sandboxID": sandbox.id,
        "clientID": "local",
        "envdVersion": ENVD_VERSION,
        "envdAccessToken": sandbox.access_token,
        "trafficAccessToken": sandbox.traffic_token,
        "domain": None,
    }


def described(request: Request, sandbox: Sandbox) -> dict[str, Any]:
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
        "state": _state(sandbox),
        "metadata": sandbox.metadata,
        "allowInternetAccess": bool(sandbox.allowed),
        "network": {"allowOut": list(sandbox.allowed.requested), "denyOut": list(sandbox.allowed.denied)},
        "lifecycle": {"autoResume": sandbox.resumes, "onTimeout": "pause" if sandbox.pauses else "kill"},
    }


async def _disk_used(sandbox: Sandbox) -> int:
    used = (await sandbox.link.ask("disk", timeout_s=5)).get("used")
    return used if isinstance(used, int) else 0


def _allowed(request: Request, body: dict[str, Any]) -> Allowed:
    try:
        return asked_for(body, settings(request).allowed_hosts)
    except ValueError as error:
        raise HttpRefused(400, str(error)) from None


async def change_network(request: Request) -> Response:
    """Connections that are open go on; new ones are asked about."""
    sandbox = named(request)
    sandbox.allowed = _allowed(request, await _network_of(request))
    if sandbox.allowed and not sandbox.has_way_out:
        if sandbox.paused:
            raise HttpRefused(409, "the sandbox is paused: connect to it first")
        await open_way_out(sandbox)
    return Response(status_code=204)


async def _network_of(request: Request) -> dict[str, Any]:
    body = await read_json(request)
    return {"network": body, "allow_internet_access": body.get("allow_internet_access")}


def _state(sandbox: Sandbox) -> str:
    return "paused" if sandbox.paused else "running"


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


ROUTES = [
    Route("/sandboxes", create, methods=["POST"]),
    Route("/v2/sandboxes", create, methods=["POST"]),
    Route("/sandboxes", list_all, methods=["GET"]),
    Route("/v2/sandboxes", list_all, methods=["GET"]),
    Route("/sandboxes/{id}", show, methods=["GET"]),
    Route("/sandboxes/{id}", kill, methods=["DELETE"]),
    Route("/sandboxes/{id}/timeout", set_timeout, methods=["POST"]),
    Route("/sandboxes/{id}/metrics", metrics, methods=["GET"]),
    Route("/sandboxes/{id}/network", change_network, methods=["PUT"]),
]
