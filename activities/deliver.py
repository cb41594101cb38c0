"""Effectively-once delivery: one outbox row for each call of the platform, written before and after it.

Never a silent loss, never an unmarked duplicate: a call with an unknown end is repeated under the platform's
own idempotency key where it has one, else with a mark that people see, or held as a dead letter.
"""

from __future__ import annotations

import time

from temporalio import activity

from activities.deps import Deps
from activities.heartbeat import beating
from channels.base import Account, Channel, Marks
from channels.facts import LIVE
from channels.registry import descriptor, load
from portico.contracts.messages import ARTIFACT_KEY, BlobRef, NotSent, Outgoing, Sent
from portico.contracts.steps import Delivered, DeliverInput
from portico.errors import Unavailable
from portico.ids import ascii_key
from portico.logs import logger
from portico.storage.outbox import Begun
from portico.storage.outbox_rows import NewRow, OutboxRow

log = logger("deliver")


class DeliverSteps:
    """One reply, all its calls in order."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    @activity.defn(name="deliver")
    async def deliver(self, given: DeliverInput) -> Delivered:
        """Raises `Unavailable` where the platform definitely did not take a call: the row is ready again."""
        conversation = given.conversation
        channel = load(conversation.channel)
        account = self._deps.accounts.get(conversation.channel, conversation.account)
        rows = _new_rows(given, channel)
        if conversation.channel in LIVE:
            return await self._show(given, rows)
        sender = _Sender(self._deps, channel, account, chat=conversation.chat)
        while True:
            stored, begun = await self._deps.outbox.prepare_and_begin_first(
                rows,
                rates=channel.rates(account),
                account_key=f"{account.channel}:{account.name}",
                chat_key=f"{account.channel}:{account.name}:{conversation.chat}",
                now=time.time(),
            )
            if begun is None:
                return _delivered(stored)
            if begun.kind == "wait":
                return Delivered(outcome="wait", wait_s=max(0.05, begun.wait_until - time.time()))
            await sender.advance(begun)

    async def _show(self, given: DeliverInput, rows: tuple[NewRow, ...]) -> Delivered:
        """A live channel reads the outbox itself: nothing is sent."""
        stored = await self._deps.outbox.prepare_sent(rows, now=time.time())
        self._deps.live.publish(given.conversation.id, {"kind": "outbox"})
        return _delivered(stored)


class _Sender:
    """Moves one outbox row on, and says honestly how a call ended."""

    def __init__(self, deps: Deps, channel: Channel, account: Account, *, chat: str) -> None:
        self._outbox = deps.outbox
        self._deps = deps
        self._hold = deps.settings.delivery.on_unknown == "hold"
        self._channel = channel
        self._account = account
        self._idempotent = descriptor(account.channel).idempotent_sends
        self._chat = chat

    async def advance(self, begun: Begun) -> None:
        row = begun.row
        if begun.kind == "go":
            await self._send(row)
        elif begun.kind == "ambiguous":
            await self._settle_unknown(row)
        elif begun.kind == "stale":
            raise Unavailable(self._account.channel, "another attempt is sending this part")

    async def _send(self, row: OutboxRow) -> None:
        outgoing = Outgoing.model_validate_json(row.payload).model_copy(
            update={"chat": self._chat, "turn": row.turn_id}
        )
        if row.marked and isinstance(self._channel, Marks):
            outgoing = self._channel.marked(outgoing)
        async with beating():
            end = await self._channel.send(
                outgoing, self._account, key=ascii_key(row.row_id), read_blob=self._content
            )
        now = time.time()
        if isinstance(end, Sent):
            await self._outbox.finish(
                row.row_id, attempt=row.attempt, state="sent", platform_id=end.platform_id, now=now
            )
        elif isinstance(end, NotSent):
            await self._settle_refusal(row, end, now=now)
        else:
            log.warning("deliver.unknown_end", row=row.row_id, reason=end.reason)
            await self._outbox.finish(
                row.row_id, attempt=row.attempt, state="unknown", reason=end.reason, now=now
            )
            await self._settle_unknown(row)
            raise Unavailable(self._account.channel, "the end of a call is unknown")

    async def _content(self, blob: BlobRef) -> bytes:
        """A file of a reply: a blob of its own, or one that a tool run has kept."""
        if not blob.key.startswith(ARTIFACT_KEY):
            return await self._deps.blobs.get(blob)
        invocation_id, _, name = blob.key.removeprefix(ARTIFACT_KEY).partition("/")
        artifacts = self._deps.artifacts
        return await artifacts.content(await artifacts.find(invocation_id, name))

    async def _settle_refusal(self, row: OutboxRow, end: NotSent, *, now: float) -> None:
        if end.permanent:
            await self._outbox.finish(
                row.row_id, attempt=row.attempt, state="refused", reason=end.reason, now=now
            )
            return
        await self._outbox.back_to_ready(row.row_id, attempt=row.attempt, reason=end.reason)
        raise Unavailable(self._account.channel, end.reason, retry_after_s=end.retry_after_s)

    async def _settle_unknown(self, row: OutboxRow) -> None:
        if self._idempotent:
            await self._outbox.repeat_keyed(row.row_id, attempt=row.attempt)
        elif self._hold or not isinstance(self._channel, Marks):
            await self._outbox.hold(row.row_id, reason="the end of a call is unknown")
        else:
            await self._outbox.repeat_marked(row.row_id, attempt=row.attempt)


def _new_rows(given: DeliverInput, channel: Channel) -> tuple[NewRow, ...]:
    return tuple(
        NewRow(
            conversation_id=given.conversation.id,
            turn_id=given.delivery_id,
            part=part,
            kind=given.kind,
            payload=outgoing.model_dump_json(),
            decision_id=given.decision_id,
        )
        for part, outgoing in enumerate(channel.render(given.reply))
    )


def _delivered(rows: tuple[OutboxRow, ...]) -> Delivered:
    bad = next((row for row in rows if row.state == "refused" or row.held), None)
    outcome = "sent" if bad is None else "held" if bad.held else "refused"
    return Delivered(
        outcome=outcome,
        calls=len(rows),
        marked=sum(row.marked for row in rows),
        reason=bad.reason if bad else "",
    )
