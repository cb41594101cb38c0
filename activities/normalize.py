"""First step of an event: claim its keys in the inbox, and bring it into the shape of a message."""

from __future__ import annotations

import time

import orjson
from temporalio import activity

from activities.deps import Deps
from channels.registry import load
from portico.contracts.messages import Ignored, InboundEvent
from portico.contracts.steps import Normalized, NormalizeInput
from portico.errors import Unreadable


class NormalizeSteps:
    """Executed again, it finds its own claim and gives the same answer."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    @activity.defn(name="normalize")
    async def normalize(self, given: NormalizeInput) -> Normalized:
        """Raises `Unreadable` for a body that this version does not understand: the caller keeps it."""
        event = await self._event(given)
        account = self._deps.accounts.get(event.channel, event.account)
        message = load(event.channel).parse(event, account)
        if isinstance(message, Ignored):
            return Normalized(ignored=message.why)
        now = time.time()
        ours = await self._deps.inbox.claim(
            given.conversation.id,
            event.dedup_keys,
            given.turn_id,
            now=min(now, event.received_at or now),
            text=message.text,
            sender_id=message.sender.id,
            message_id=message.id,
            ref=given.conversation,
        )
        return Normalized(message=message) if ours else Normalized(repeat=True)

    async def _event(self, given: NormalizeInput) -> InboundEvent:
        envelope, conversation = given.envelope, given.conversation
        body = envelope.body
        if envelope.body_blob is not None:
            body = orjson.loads(await self._deps.blobs.get(envelope.body_blob))
        if not isinstance(body, dict):
            raise Unreadable(f"an event of {conversation.channel}", "its body is no object")
        return InboundEvent(
            channel=conversation.channel,
            account=conversation.account,
            chat=conversation.chat,
            dedup_keys=envelope.dedup_keys,
            received_at=envelope.received_at,
            body=body,
            attachments=envelope.attachments,
        )
