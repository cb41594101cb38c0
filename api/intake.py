"""From a verified event to a stored one: signal-with-start on the event's conversation.

An answer to the platform is given only after this returned. Update-with-start would not do: without a worker
it stores nothing but the start.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import orjson
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from portico.contracts import names
from portico.contracts.messages import BlobRef, ConversationRef, Envelope, InboundEvent
from portico.contracts.steps import ConversationStart
from portico.crypto.keyring import Keyring
from portico.errors import Misconfigured, Unavailable
from portico.ids import conversation_id
from portico.logs import logger
from portico.telemetry.traces import Traces

log = logger("edge")

RPC_TIMEOUT = timedelta(seconds=8)
KNOWN_FOR_S = 10.0
"""How long this process knows the turn of an event that it has stored; by then the inbox does."""
CHANNEL = SearchAttributeKey.for_keyword("PorticoChannel")
STATUS = SearchAttributeKey.for_keyword("PorticoStatus")
AWAY = {
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.ABORTED,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.INTERNAL,
    RPCStatusCode.UNKNOWN,
}


class KeepsBodies(Protocol):
    """Where bodies go that are too large for a signal."""

    async def put(self, content: bytes) -> BlobRef: ...


@dataclass(frozen=True)
class Stored:
    """Where an event went, once Temporal has it."""

    conversation_id: str
    turn_id: str


class Intake:
    """Stores events. Those of one conversation one after another, conversations in parallel."""

    def __init__(
        self,
        temporal: Client,
        keyring: Keyring,
        blobs: KeepsBodies,
        *,
        signal_bytes: int,
        split_queues: bool = False,
        traces: Traces | None = None,
    ) -> None:
        self.traces = traces or Traces()
        self._temporal = temporal
        self._id_key = keyring.current("id").secret
        self._blobs = blobs
        self._signal_bytes = signal_bytes
        self._split_queues = split_queues
        self._storing: dict[tuple[str, ...], asyncio.Task[Stored]] = {}

    def conversation_id(self, *, channel: str, account: str, chat: str) -> str:
        return conversation_id(self._id_key, channel=channel, account=account, chat=chat)

    async def store_all(self, events: tuple[InboundEvent, ...]) -> None:
        """Returns when every event is stored. Raises `Unavailable`: the platform repeats, repeats are recognized."""
        chats: dict[str, list[InboundEvent]] = {}
        for event in events:
            chats.setdefault(event.chat, []).append(event)
        await asyncio.gather(*(self._store_in_order(ordered) for ordered in chats.values()))

    async def store(self, event: InboundEvent, *, turn_id: str = "") -> Stored:
        """Raises `Unavailable` where Temporal, or S3 for a large body, did not take it."""
        workflow_id = self.conversation_id(channel=event.channel, account=event.account, chat=event.chat)
        turn_id = turn_id or uuid.uuid4().hex
        reference = ConversationRef(
            id=workflow_id, channel=event.channel, account=event.account, chat=event.chat
        )
        # It began when the platform's request, or its answer to our poll, was read.
        began_ns = int(event.received_at * 1e9) or None
        facts = {"workflow": workflow_id, "channel": event.channel}
        with self.traces.span("receive", turn_id, facts, root=True, start_ns=began_ns):
            await self.signal(reference, await self._envelope(event, turn_id=turn_id))
        return Stored(conversation_id=workflow_id, turn_id=turn_id)

    async def store_once(self, event: InboundEvent) -> Stored:
        """As `store`; concurrent requests with the same event get the same turn.

        The inbox knows an event only after its conversation has handled it.
        """
        key = (event.channel, event.account, event.chat, *event.dedup_keys)
        storing = self._storing.get(key)
        if storing is None:
            storing = self._storing[key] = asyncio.create_task(self.store(event))
            storing.add_done_callback(lambda done: self._forget_soon(key, done))
        return await asyncio.shield(storing)

    def _forget_soon(self, key: tuple[str, ...], done: asyncio.Task[Stored]) -> None:
        failed = done.cancelled() or done.exception() is not None
        loop = asyncio.get_running_loop()
        loop.call_later(0 if failed else KNOWN_FOR_S, self._storing.pop, key, None)

    async def signal(self, conversation: ConversationRef, envelope: Envelope) -> None:
        try:
            # The call's own limit does not count while a client that was never connected connects.
            async with asyncio.timeout(RPC_TIMEOUT.total_seconds() + 1):
                await self._temporal.start_workflow(
                    names.CONVERSATION,
                    ConversationStart(conversation=conversation, split_queues=self._split_queues),
                    id=conversation.id,
                    task_queue=names.TASK_QUEUE,
                    start_signal=names.RECEIVE,
                    start_signal_args=[envelope],
                    search_attributes=TypedSearchAttributes(
                        [
                            SearchAttributePair(CHANNEL, conversation.channel),
                            SearchAttributePair(STATUS, "open"),
                        ]
                    ),
                    rpc_timeout=RPC_TIMEOUT,
                )
        except RPCError as error:
            if error.status in AWAY:
                raise Unavailable("Temporal", error.status.name.lower(), retry_after_s=2) from error
            raise Misconfigured(f"Temporal refuses events: {error.status.name.lower()}") from error
        except TimeoutError as error:
            raise Unavailable("Temporal", "no answer in time", retry_after_s=2) from error
        except RuntimeError as error:
            # The SDK's bridge, where the client was never connected: an edge that started while Temporal was away.
            raise Unavailable("Temporal", "no connection", retry_after_s=2) from error

    async def settle(self, workflow_id: str) -> None:
        """Tell a conversation that none of its dead letters is open. One that is gone, or Temporal away, is no matter:
        the letters themselves are what counts."""
        try:
            async with asyncio.timeout(RPC_TIMEOUT.total_seconds()):
                await self._temporal.get_workflow_handle(workflow_id).signal(names.SETTLED)
        except (RPCError, RuntimeError, TimeoutError) as error:
            log.info("intake.not_settled", conversation=workflow_id, cause=type(error).__name__)

    async def ready(self) -> None:
        """Raises `RPCError` while Temporal does not answer."""
        await self._temporal.service_client.check_health(timeout=RPC_TIMEOUT)

    async def _store_in_order(self, events: list[InboundEvent]) -> None:
        for event in events:
            await self.store(event)

    async def _envelope(self, event: InboundEvent, *, turn_id: str) -> Envelope:
        envelope = Envelope(
            dedup_keys=event.dedup_keys,
            received_at=event.received_at or time.time(),
            turn=turn_id,
            attachments=event.attachments,
        )
        body = orjson.dumps(event.body)
        if len(body) > self._signal_bytes // 2:
            return envelope.model_copy(update={"body_blob": await self._blobs.put(body)})
        return envelope.model_copy(update={"body": event.body})
