"""Stands before every page of the console: who has no session sees how to get one, and nothing else.

It also gives pages their Content-Security-Policy: scripts only from this machine, inline ones only with the
nonce of this answer (NiceGUI's page has some).
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.edge import Edge

CLOSED_PAGE = Path(__file__).parent / "closed.html"
SCRIPT_TAG = re.compile(rb"<script(?=[\s>])")
POLICY = (
    "default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; font-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)


class Door:
    """ASGI middleware. NiceGUI's files are the same for everyone; its pages and socket need a session."""

    def __init__(self, app: ASGIApp, *, edge: Edge, prefix: str) -> None:
        self._app = app
        self._edge = edge
        self._files = f"{prefix}/_nicegui/"
        self._closed = CLOSED_PAGE.read_text(encoding="utf-8")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"].startswith(self._files):
            await self._app(scope, receive, send)
        elif not await self._edge.knows(Headers(scope=scope)):
            await self._refuse(scope, receive, send)
        elif scope["type"] == "http" and scope["method"] == "GET":
            await self._app(_without_forwarded_prefix(scope), receive, _PolicySender(send))
        else:
            await self._app(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        policy = {"Content-Security-Policy": POLICY.format(scripts=""), "Cache-Control": "no-store"}
        response: Response = HTMLResponse(self._closed, status_code=401, headers=policy)
        await response(scope, receive, send)


def _without_forwarded_prefix(scope: Scope) -> Scope:
    """NiceGUI would write this header's value into the page."""
    headers = [(name, value) for name, value in scope["headers"] if name != b"x-forwarded-prefix"]
    return {**scope, "headers": headers}


class _PolicySender:
    """Holds an HTML answer back until it is whole, marks its scripts with a nonce and adds the policy."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_html(message):
            self._start = message
        elif self._start is None or message["type"] != "http.response.body":
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish(self._start)

    async def _finish(self, start: Message) -> None:
        nonce = secrets.token_urlsafe(18)
        body = SCRIPT_TAG.sub(f'<script nonce="{nonce}"'.encode(), self._body)
        replaced = (b"content-length", b"cache-control")
        headers = [pair for pair in start["headers"] if pair[0].lower() not in replaced]
        headers += [
            (b"content-length", str(len(body)).encode()),
            (b"content-security-policy", POLICY.format(scripts=f"'nonce-{nonce}'").encode()),
            (b"cache-control", b"no-store"),
        ]
        await self._send({**start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _is_html(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type", "").startswith("text/html")
