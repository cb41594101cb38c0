"""The generic webhook: signed messages in, signed replies out.

Signatures: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx2
import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from channels.base import Account, Rates, RawRequest, ReadBlob, Received
from channels.clients import NOT_WRITTEN, Clients
from channels.text import is_command
from portico.contracts.messages import (
    CardPart,
    ChoicesPart,
    InboundEvent,
    Message,
    MessageKind,
    NotSent,
    Outgoing,
    Reply,
    Sender,
    Sent,
    TextPart,
    Unknown,
)
from portico.egress.posts import PostResponse
from portico.errors import Forbidden, Refused, Unreadable
from portico.problems import first_problem
from portico.retry_after import retry_after_s

_SIGNATURE = re.compile(r"v1,[A-Za-z0-9+/]+={0,2}")
_WELL_FORMED_ID = re.compile(r"[\x21-\x7e]{1,256}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_TIMEOUT = httpx2.Timeout(connect=5.0, write=10.0, read=20.0, pool=5.0)
_KEEPALIVE_S = 4.0
"""Below the 5 seconds after which small servers (Node.js, uvicorn) close a connection."""


class _Data(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    chat: str = Field(min_length=1, max_length=256)
    sender: str = Field(min_length=1, max_length=256)
    text: str = ""
    reply_to: str = ""
    name: str = ""
    locale: str = ""


class _HookBody(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    timestamp: AwareDatetime
    data: _Data


class Hook:
    """Channel. Its sends carry an idempotency key."""

    def __init__(self) -> None:
        self._clients = Clients(_TIMEOUT, keepalive_s=_KEEPALIVE_S)

    def receive(self, request: RawRequest, account: Account) -> Received:
        _verify(request, account)
        message_id = request.headers["webhook-id"]
        try:
            body = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            raise Unreadable("the event", "not JSON") from None
        if not isinstance(body, dict) or not isinstance(body.get("type"), str):
            raise Unreadable("the event", "no object with a type")
        if body["type"] != "message":
            return Received(quiet="unknown_kind")
        event = InboundEvent(
            channel="hook",
            account=account.name,
            chat=_said(body).data.chat,
            dedup_keys=(f"hook:{account.name}:{message_id}",),
            received_at=time.time(),
            body={"id": message_id, "timestamp": body["timestamp"], "data": body["data"]},
        )
        return Received(events=(event,))

    def parse(self, event: InboundEvent, account: Account) -> Message:
        said = _said(event.body)
        data = said.data
        return Message(
            id=str(event.body.get("id", "")),
            sender=Sender(id=data.sender, name=data.name),
            text=data.text,
            kind=MessageKind.COMMAND if is_command(data.text) else MessageKind.TEXT,
            reply_to=data.reply_to,
            sent_at=said.timestamp.timestamp(),
            locale=data.locale,
        )

    def render(self, reply: Reply) -> tuple[Outgoing, ...]:
        whole = reply.model_dump(mode="json")
        payload = {"text": _as_text(reply), "parts": whole["parts"], "reply_to": reply.quotes}
        return (Outgoing(chat="", method="reply", payload=payload),)

    async def send(
        self, outgoing: Outgoing, account: Account, *, key: str, read_blob: ReadBlob | None = None
    ) -> Sent | NotSent | Unknown:
        data = {"chat": outgoing.chat, "turn": outgoing.turn, **outgoing.payload}
        return await self._post("reply", data, account, key=key)

    async def ping(self, account: Account) -> Sent | NotSent | Unknown:
        """A signed event of the type `ping`, to see whether the other side takes what we sign."""
        return await self._post("ping", {}, account, key=f"ping-{uuid4().hex}")

    async def _post(
        self, kind: str, data: dict[str, Any], account: Account, *, key: str
    ) -> Sent | NotSent | Unknown:
        url = account.settings.reply_url
        if not url:
            return NotSent(reason=f"channels.hook.{account.name} has no reply_url", permanent=True)
        body = orjson.dumps({"type": kind, "timestamp": datetime.now(UTC).isoformat(), "data": data})
        headers = _signed(body, account, key=key)
        try:
            answer = await self._clients.poster(account).post(url, content=body, headers=headers)
        except Forbidden as error:
            return NotSent(reason=f"channels.hook.{account.name}: reply_url: {error.message}", permanent=True)
        except NOT_WRITTEN as error:
            return NotSent(reason=f"not connected: {type(error).__name__}")
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            return Unknown(reason=f"connection lost after writing: {type(error).__name__}")
        return _outcome(answer, key=key)

    def rates(self, account: Account) -> Rates:
        return Rates(per_s=account.settings.rate_per_s)

    async def close(self) -> None:
        await self._clients.close()


def _verify(request: RawRequest, account: Account) -> None:
    """Raises `Refused`. The library is given only what it can read: it stumbles over malformed headers."""
    headers = request.headers
    message_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    signatures = [
        item for item in headers.get("webhook-signature", "").split(" ") if _SIGNATURE.fullmatch(item)
    ]
    if not _WELL_FORMED_ID.fullmatch(message_id) or not _TIMESTAMP.fullmatch(timestamp) or not signatures:
        raise Refused("hook_headers")
    webhook = Webhook(account.settings.secret.get_secret_value())
    # One at a time, because one signature that is not base64 would hide a good one behind it.
    if not any(
        _fits(webhook, request.body, message_id, timestamp, signature) for signature in signatures[:16]
    ):
        raise Refused("hook_signature")


def _fits(webhook: Webhook, body: bytes, message_id: str, timestamp: str, signature: str) -> bool:
    headers = {"webhook-id": message_id, "webhook-timestamp": timestamp, "webhook-signature": signature}
    try:
        webhook.verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError, OverflowError):
        return False
    return True


def _said(body: dict[str, Any]) -> _HookBody:
    try:
        return _HookBody.model_validate(body)
    except ValidationError as error:
        raise Unreadable("the event", first_problem(error).rule()) from None


def _as_text(reply: Reply) -> str:
    return "\n\n".join(text for part in reply.parts if (text := _part_text(part)))


def _part_text(part: object) -> str:
    match part:
        case TextPart():
            return part.text
        case ChoicesPart():
            lines = [f"{number}. {choice.label}" for number, choice in enumerate(part.choices, start=1)]
            return "\n".join([part.text, *lines])
        case CardPart():
            return "\n".join(line for line in (part.title, part.text, part.url) if line)
    return ""


def _signed(body: bytes, account: Account, *, key: str) -> dict[str, str]:
    now = datetime.now(UTC)
    webhook = Webhook(account.settings.secret.get_secret_value())
    return {
        "content-type": "application/json",
        "webhook-id": key,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": webhook.sign(key, now, body.decode()),
    }


def _outcome(answer: PostResponse, *, key: str) -> Sent | NotSent | Unknown:
    status = answer.status
    if 200 <= status < 300:
        return Sent(platform_id=key)
    if status >= 500:
        return Unknown(reason=f"status {status}")
    if status in (408, 425, 429):
        wait_s = retry_after_s(answer.headers.get("retry-after"))
        return NotSent(reason=f"status {status}", retry_after_s=wait_s)
    return NotSent(reason=f"status {status}", permanent=True)


CHANNEL = Hook()
