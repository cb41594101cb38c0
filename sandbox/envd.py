"""The routes of E2B's daemon, which here runs outside: it passes commands and file operations on to the agent."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.connect import Message, RpcError, keepalive_of, server_stream, unary
from sandbox.http import ENVD, addressed, opened
from sandbox.record import Sandbox
from sandbox.watching import Watcher

USERS = ("", "user")
WATCHERS_LIMIT = 32


async def health(request: Request) -> Response:
    addressed(request, ENVD)
    return Response(status_code=204)


def user_of(request: Request) -> str:
    """The user that the request wants to be. There is one; `root` is refused, not pretended."""
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        user = base64.b64decode(credentials, validate=True).decode().split(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        raise RpcError("unauthenticated", "the authorization is malformed") from None
    if user not in USERS:
        raise RpcError("unauthenticated", f"there is no user {user[:40]!r}: sandboxes have one, named user")
    return user


def sandbox_of(request: Request) -> Sandbox:
    sandbox = opened(request, ENVD)
    user_of(request)
    return sandbox


def field(message: Message, name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str):
        raise RpcError("invalid_argument", f"{name} must be text")
    return value


async def _file(sandbox: Sandbox, action: str, **arguments: Any) -> Message:
    answer = await sandbox.link.ask("file", action=action, **arguments)
    return {name: answer[name] for name in ("entry", "entries") if name in answer}


async def stat(sandbox: Sandbox, message: Message) -> Message:
    return await _file(sandbox, "stat", path=field(message, "path"))


async def list_directory(sandbox: Sandbox, message: Message) -> Message:
    depth = message.get("depth") or 1
    if not isinstance(depth, int) or not 1 <= depth <= 64:
        raise RpcError("invalid_argument", "depth must be between 1 and 64")
    return {"entries": [], **await _file(sandbox, "list", path=field(message, "path"), depth=depth)}


async def make_directory(sandbox: Sandbox, message: Message) -> Message:
    return await _file(sandbox, "make", path=field(message, "path"))


async def move(sandbox: Sandbox, message: Message) -> Message:
    return await _file(
        sandbox, "move", path=field(message, "source"), destination=field(message, "destination")
    )


async def remove(sandbox: Sandbox, message: Message) -> Message:
    return await _file(sandbox, "remove", path=field(message, "path"))


async def create_watcher(sandbox: Sandbox, message: Message) -> Message:
    if len(sandbox.watchers) >= WATCHERS_LIMIT:
        raise RpcError("resource_exhausted", f"{WATCHERS_LIMIT} watchers are open already")
    watcher = await Watcher.begin(sandbox.link, message)
    sandbox.watchers[watcher.id] = watcher
    return {"watcherId": watcher.id}


async def watcher_events(sandbox: Sandbox, message: Message) -> Message:
    return {"events": _watcher(sandbox, message).taken()}


async def remove_watcher(sandbox: Sandbox, message: Message) -> Message:
    watcher = _watcher(sandbox, message)
    watcher.close()
    del sandbox.watchers[watcher.id]
    return {}


def _watcher(sandbox: Sandbox, message: Message) -> Watcher:
    watcher = sandbox.watchers.get(field(message, "watcherId"))
    if watcher is None:
        raise RpcError("not_found", "there is no such watcher")
    return watcher


async def watch(sandbox: Sandbox, message: Message, request: Request) -> AsyncIterator[Message]:
    if len(sandbox.watchers) >= WATCHERS_LIMIT:
        raise RpcError("resource_exhausted", f"{WATCHERS_LIMIT} watchers are open already")
    watcher = await Watcher.begin(sandbox.link, message)
    sandbox.watchers[watcher.id] = watcher
    return _watched(sandbox, watcher, keepalive_of(request))


async def _watched(sandbox: Sandbox, watcher: Watcher, keepalive_s: float) -> AsyncIterator[Message]:
    try:
        yield {"start": {}}
        while not watcher.ended:
            events = await watcher.wait(keepalive_s)
            for event in events:
                yield {"filesystem": event}
            if not events:
                yield {"keepalive": {}}
    finally:
        watcher.close()
        sandbox.watchers.pop(watcher.id, None)


def _route(name: str, endpoint: Any) -> Route:
    return Route(f"/filesystem.Filesystem/{name}", unary(sandbox_of, endpoint), methods=["POST"])


ROUTES = [
    Route("/health", health, methods=["GET"]),
    _route("Stat", stat),
    _route("ListDir", list_directory),
    _route("MakeDir", make_directory),
    _route("Move", move),
    _route("Remove", remove),
    _route("CreateWatcher", create_watcher),
    _route("GetWatcherEvents", watcher_events),
    _route("RemoveWatcher", remove_watcher),
    Route("/filesystem.Filesystem/WatchDir", server_stream(sandbox_of, watch), methods=["POST"]),
]
