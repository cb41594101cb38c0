"""The web as a channel: what comes by the chat socket and by POST /v1/messages.

Who speaks has been verified by the edge. A reply is not sent anywhere: the outbox row is what the socket
reads.
"""

from __future__ import annotations

import time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from channels.base import Account, AccountSettings, Rates, RawRequest, ReadBlob, Received
from channels.text import is_command
from portico.contracts.messages import (
    Attachment,
    InboundEvent,
    Message,
    MessageKind,
    Outgoing,
    Reply,
    Sender,
    Sent,
)
from portico.errors import Refused, Unreadable
from portico.problems import first_problem


class WebSettings(AccountSettings):
    """The web needs no settings: it has one account, `default`."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    person_id: str
    text: str = ""
    name: str = ""
    locale: str = ""
    kind: Literal["message", "button"] = "message"
    sent_at: float = 0.0


def dedup_key(id: str, *, account: str = "default") -> str:
    """What makes a message sent twice one turn."""
    return f"web:{account}:{id}"


def event(
    *,
    id: str,
    conversation: str,
    text: str,
    person_id: str,
    locale: str = "",
    name: str = "",
    kind: Literal["message", "button"] = "message",
    attachments: tuple[Attachment, ...] = (),
    account: str = "default",
) -> InboundEvent:
    """The event of a message that a person who is logged in wrote. `id` is the client's own."""
    now = time.time()
    body = _Body(id=id, person_id=person_id, text=text, name=name, locale=locale, kind=kind, sent_at=now)
    return InboundEvent(
        channel="web",
        account=account,
        chat=conversation,
        dedup_keys=(dedup_key(id, account=account),),
        received_at=now,
        body=body.model_dump(),
        attachments=attachments,
    )


class Web:
    """Channel."""

    def receive(self, request: RawRequest, account: Account) -> Received:
        raise Refused("web_has_no_webhook")

    def parse(self, event: InboundEvent, account: Account) -> Message:
        try:
            body = _Body.model_validate(event.body)
        except ValidationError as error:
            raise Unreadable("the message", first_problem(error).rule()) from None
        return Message(
            id=body.id,
            sender=Sender(id=body.person_id, name=body.name),
            text=body.text,
            attachments=event.attachments,
            kind=_kind(body, has_media=bool(event.attachments)),
            sent_at=body.sent_at,
            locale=body.locale,
        )

    def render(self, reply: Reply) -> tuple[Outgoing, ...]:
        payload: dict[str, Any] = reply.model_dump(mode="json")
        return (Outgoing(chat="", method="reply", payload=payload),)

    async def send(
        self, outgoing: Outgoing, account: Account, *, key: str, read_blob: ReadBlob | None = None
    ) -> Sent:
        return Sent(platform_id=key)

    def rates(self, account: Account) -> Rates:
        return Rates()

    async def close(self) -> None:
        """Nothing is kept open."""


def _kind(body: _Body, *, has_media: bool) -> MessageKind:
    if body.kind == "button":
        return MessageKind.BUTTON
    if has_media:
        return MessageKind.MEDIA
    return MessageKind.COMMAND if is_command(body.text) else MessageKind.TEXT


CHANNEL = Web()
