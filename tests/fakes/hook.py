"""Somebody else's server: takes signed replies, verifies them, records them, and can be told to fail.

with FakeReceiver() as receiver:                     # receiver.url + "/replies" is the reply_url
    receiver.script("reply", status(503), drop())
    receiver.wait_for_replies(1)[0].data["text"]
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from tests.fakes.server import FakeServer, delay, drop, status

__all__ = ["FakeReceiver", "Posted", "delay", "drop", "message", "sign", "status"]

SECRET = "whsec_" + base64.b64encode(b"a secret of the tests, 32 bytes.").decode()


def sign(secret: str, *, message_id: str, timestamp: int, body: bytes) -> str:
    """Standard Webhooks' signature, from its specification and not with the library that is tested."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def message(
    text: str,
    *,
    secret: str = SECRET,
    message_id: str = "msg-1",
    chat: str = "c1",
    sender: str = "ada",
    at: int | None = None,
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a message to Portico."""
    when = int(time.time()) if at is None else at
    data = {"chat": chat, "sender": sender, "text": text}
    stamp = datetime.fromtimestamp(when, UTC).isoformat()
    body = json.dumps({"type": "message", "timestamp": stamp, "data": data}).encode()
    headers = {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(when),
        "webhook-signature": sign(secret, message_id=message_id, timestamp=when, body=body),
    }
    return body, headers


@dataclass(frozen=True)
class Posted:
    id: str
    verified: bool
    body: dict[str, Any]
    at: float

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = self.body["data"]
        return data


class FakeReceiver(FakeServer):
    """`posts` holds every arrival; `replies` one for each id, as a receiver that deduplicates sees them."""

    def __init__(self, *, secret: str = SECRET, port: int = 0) -> None:
        super().__init__(port=port)
        self.secret = secret
        self.posts: list[Posted] = []

    @property
    def reply_url(self) -> str:
        return f"{self.url}/replies"

    @property
    def replies(self) -> list[Posted]:
        return list({post.id: post for post in reversed(self.posts) if post.verified}.values())[::-1]

    def wait_for_replies(self, count: int, *, timeout_s: float = 10) -> list[Posted]:
        found: list[Posted] = self.wait_until(
            lambda: self.replies if len(self.replies) >= count else [],
            timeout_s=timeout_s,
            what=f"{count} replies",
        )
        return found

    def routes(self, app: web.Application) -> None:
        app.router.add_post("/replies", self._reply)

    async def _reply(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        step = self.next_step("reply")
        if step is not None and step.delay_s:
            await asyncio.sleep(step.delay_s)
        posted = Posted(
            request.headers.get("webhook-id", ""),
            self._verified(request, body),
            json.loads(body),
            time.monotonic(),
        )
        if step is None or step.taken:
            with self._changed:
                self.posts.append(posted)
                self._changed.notify_all()
        if step is not None and step.drop:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if step is not None and step.status is not None:
            return web.json_response(step.body or {}, status=step.status, headers=step.headers)
        return web.Response(status=200 if posted.verified else 401)

    def _verified(self, request: web.Request, body: bytes) -> bool:
        message_id = request.headers.get("webhook-id", "")
        stamp = request.headers.get("webhook-timestamp", "0")
        if not stamp.isdecimal() or abs(time.time() - int(stamp)) > 300:
            return False
        expected = sign(self.secret, message_id=message_id, timestamp=int(stamp), body=body)
        return expected in request.headers.get("webhook-signature", "").split(" ")
