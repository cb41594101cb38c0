"""`POST /v1/messages`: a message as a program sends it, acked when it is stored, answered on request."""

from __future__ import annotations

import asyncio
import base64
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field, StringConstraints

from api.body import AttachmentsRoute
from api.chat.conversations import chat_of, history_url, replies_of, reply_frame, workflow_of
from api.deps import App, AppDeps, Person
from channels import web
from portico.contracts.messages import Attachment
from portico.errors import BadInput, TooLarge
from portico.storage.access import Principal
from portico.storage.outbox_rows import OutboxRow

router = APIRouter(tags=["messages"], route_class=AttachmentsRoute)

TEXT_LIMIT = 32_000
POLL_S = 2.0
STOP = "/stop"
ASKED_AT_ONCE = 4
"""So many tools a model asks for at first; any of them may need a yes."""

MessageId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]


class AttachmentBody(BaseModel):
    """A file sent along, in base64."""

    name: str = Field("", max_length=200)
    media_type: str = Field("application/octet-stream", max_length=100)
    data: str


class MessageBody(BaseModel):
    """`id` makes the request repeatable: the same id twice is one turn."""

    id: MessageId | None = None
    conversation: str | None = Field(None, max_length=64)
    text: str = Field("", max_length=TEXT_LIMIT)
    locale: str = Field("", max_length=35)
    attachments: list[AttachmentBody] = Field([], max_length=10)


class MessageAnswer(BaseModel):
    id: str
    conversation: str
    turn: str
    history_url: str
    reply: dict[str, Any] | None = None


@router.post(
    "/v1/messages",
    status_code=202,
    response_model_exclude_none=True,
    responses={200: {"model": MessageAnswer, "description": "With the reply"}},
)
async def post_message(
    body: MessageBody, response: Response, deps: App, person: Person, wait_s: float = Query(0, ge=0, le=60)
) -> MessageAnswer:
    """202 once stored; with `wait_s`, 200 with the reply where it comes in time."""
    answer = await accept(deps, person, body)
    if wait_s:
        workflow_id = workflow_of(deps, person, body.conversation)
        answer.reply = await _reply_of(deps, workflow_id, answer, wait_s=wait_s)
        response.status_code = 200 if answer.reply else 202
    return answer


async def accept(deps: AppDeps, person: Principal, body: MessageBody) -> MessageAnswer:
    """Store a message of the web channel. A repeated id gets the turn that the first one had."""
    if not body.text.strip() and not body.attachments:
        raise BadInput("a message needs a text or an attachment")
    message_id = body.id or uuid.uuid4().hex
    chat = chat_of(person, body.conversation)
    workflow_id = workflow_of(deps, person, body.conversation)
    known = await deps.inbox.turn_of(workflow_id, web.dedup_key(message_id)) if body.id else None
    if known is None:
        # A stop has room of its own: it has to get through when too much was said.
        lane = "stop" if body.text.strip() == STOP else "said"
        deps.limits.check_sender(f"web:{person.person_id}:{lane}")
    event = web.event(
        id=message_id,
        conversation=chat,
        text=body.text,
        person_id=person.person_id,
        locale=body.locale,
        attachments=await _stored(deps, body.attachments),
    )
    turn = known or (await deps.intake.store_once(event)).turn_id
    return MessageAnswer(
        id=message_id,
        conversation=chat.partition(":")[2],
        turn=turn,
        history_url=history_url(deps, workflow_id),
    )


async def _stored(deps: AppDeps, attachments: list[AttachmentBody]) -> tuple[Attachment, ...]:
    """Store attachments, encrypted, before the event is stored. Raises `Unavailable`."""
    stored = []
    for attachment in attachments:
        try:
            content = base64.b64decode(attachment.data, validate=True)
        except ValueError:  # not base64, or not even ASCII
            raise BadInput("an attachment's data is not base64") from None
        if len(content) > deps.settings.limits.attachment_bytes:
            raise TooLarge("an attachment", limit_bytes=deps.settings.limits.attachment_bytes)
        blob = await deps.blobs.put(content)
        stored.append(
            Attachment(
                name=attachment.name, media_type=attachment.media_type, size_bytes=len(content), blob=blob
            )
        )
    return tuple(stored)


async def _reply_of(
    deps: AppDeps, workflow_id: str, answer: MessageAnswer, *, wait_s: float
) -> dict[str, Any] | None:
    key = web.dedup_key(answer.id)
    try:
        async with asyncio.timeout(wait_s), replies_of(deps, workflow_id, after=0) as replies:
            while True:
                # Of two equal requests at the same time only one has its turn; both get its reply.
                answer.turn = await deps.inbox.turn_of(workflow_id, key) or answer.turn
                row = await first_reply(deps, answer.turn)
                if row is not None:
                    return reply_frame(row)
                await next_update(replies.updates)
    except TimeoutError:
        return None


async def first_reply(deps: AppDeps, turn: str) -> OutboxRow | None:
    """The first reply of a turn: inline, by a tool, an apology, or a request for an approval."""
    slots = ("tool", "failed", *(f"ask-{number}" for number in range(ASKED_AT_ONCE)))
    for delivery_id in (turn, *(f"{turn}.{slot}" for slot in slots)):
        for row in await deps.outbox.of_turn(delivery_id):
            if row.state == "sent":
                return row
    return None


async def next_update(updates: Any) -> dict[str, Any] | None:
    """The next wake-up; nothing after a while, so that a lost one delays and never loses."""
    try:
        async with asyncio.timeout(POLL_S):
            return dict(await anext(updates))
    except TimeoutError:
        return None
