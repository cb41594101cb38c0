"""What every lane of a conversation shares: saying something, and what happens when a turn fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from portico.contracts.messages import Actor, ConversationRef, Envelope, Part, Reply, TextPart
    from portico.contracts.steps import (
        DeadLetterInput,
        Delivered,
        DeliverInput,
        EgressQuestion,
        RememberInput,
    )
    from workflows import replies
    from workflows.steps import Steps, cause_of, new_id
    from workflows.turn_context import TURN

CAUSE_LIMIT = 300
STATUS = SearchAttributeKey.for_keyword("PorticoStatus")


@dataclass(frozen=True)
class Apology:
    """Whom to tell when a turn fails, and in which language."""

    actor: Actor
    language: str
    group: bool


class Desk:
    """Replies leave one after another, all parts of one before the next, whichever lane they come from."""

    def __init__(self, steps: Steps, *, split_queues: bool) -> None:
        self.steps = steps
        self.split_queues = split_queues
        self._going_out = asyncio.Lock()

    @property
    def conversation(self) -> ConversationRef:
        return self.steps.conversation

    async def say(
        self, reply: Reply, *, turn_id: str, actor: Actor, group: bool, kind: str = "reply", slot: str = ""
    ) -> Delivered:
        """Ask whether it may leave, then deliver it. `slot` tells several deliveries of one turn apart."""
        async with self._going_out:
            question = EgressQuestion(
                conversation=self.conversation,
                actor=actor,
                kind=kind,
                decision_id=new_id(),
                parts=len(reply.parts),
                group=group,
            )
            answer = await self.steps.authorize_egress(turn_id, question)
            if not answer.decision.allowed:
                return Delivered(outcome="refused", reason="; ".join(answer.decision.reasons))
            return await self.steps.deliver(
                DeliverInput(
                    conversation=self.conversation,
                    turn_id=turn_id,
                    delivery_id=f"{turn_id}.{slot}" if slot else turn_id,
                    kind=kind,
                    reply=reply,
                    decision_id=answer.decision.decision_id,
                )
            )

    async def answer(
        self,
        text: str,
        *,
        turn_id: str,
        actor: Actor,
        group: bool,
        memory: RememberInput,
        envelope: Envelope | None = None,
        files: tuple[Part, ...] = (),
        **how: str,
    ) -> None:
        """Say a text and remember both sides. What the platform refused for good becomes a dead letter."""
        reply = Reply(
            parts=(TextPart(text=text), *files),
            quotes=how.get("quotes", ""),
            written_by=how.get("written_by", ""),
        )
        delivered = await self.say(reply, turn_id=turn_id, actor=actor, group=group, slot=how.get("slot", ""))
        now = workflow.now().timestamp()
        answered = text if delivered.outcome == "sent" else ""
        await self.remember(memory.model_copy(update={"answered": answered, "answered_at": now}))
        if delivered.outcome in ("refused", "held"):
            code = f"delivery_{delivered.outcome}"
            await self.bury(turn_id, code=code, cause=delivered.reason, envelope=envelope)

    async def remember(self, given: RememberInput) -> None:
        """A failure is kept, without a word to the person: they have their answer, and get it once."""
        try:
            await self.steps.remember(given)
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            code, cause = failure_of(error)
            await self.bury(given.turn_id, code=code, cause=cause)

    async def bury(self, turn_id: str, *, code: str, cause: str, envelope: Envelope | None = None) -> None:
        """Keep a failure where a person finds it and can try it again."""
        workflow.upsert_search_attributes([STATUS.value_set("attention")])
        await self.steps.record_dead_letter(
            DeadLetterInput(
                conversation=self.conversation,
                turn_id=turn_id,
                code=code,
                cause=cause[:CAUSE_LIMIT],
                envelope=envelope,
            )
        )

    def calm(self) -> None:
        """Nothing needs a person's attention any more."""
        workflow.upsert_search_attributes([STATUS.value_set("open")])

    async def within_boundary(
        self,
        work: Awaitable[None],
        *,
        turn_id: str,
        envelope: Envelope | None,
        apologize_to: Apology | None = None,
    ) -> None:
        """The turn boundary: any failure of one turn becomes a dead letter and a short reply, and the lane goes on."""
        TURN.set(turn_id)
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception as error:  # the turn boundary: one failed turn, and the lane goes on
            if is_cancelled_exception(error):
                raise
            code, cause = failure_of(error)
            workflow.logger.warning("turn.failed", extra={"turn": turn_id, "code": code})
            await self._bury_and_apologize(
                turn_id, code=code, cause=cause, envelope=envelope, apologize_to=apologize_to
            )

    async def _bury_and_apologize(
        self,
        turn_id: str,
        *,
        code: str,
        cause: str,
        envelope: Envelope | None,
        apologize_to: Apology | None,
    ) -> None:
        try:
            await self.bury(turn_id, code=code, cause=cause, envelope=envelope)
            if apologize_to is not None:
                text = replies.text("failed", apologize_to.language, turn=turn_id[:8])
                await self.say(
                    Reply.of_text(text),
                    turn_id=turn_id,
                    actor=apologize_to.actor,
                    group=apologize_to.group,
                    kind="notice",
                    slot="failed",
                )
        except FailureError as error:
            # The event stays in this history; the conversation goes on with the next one.
            if is_cancelled_exception(error):
                raise
            workflow.logger.error("turn.failure_not_recorded", extra={"turn": turn_id, "code": code})


def failure_of(error: BaseException) -> tuple[str, str]:
    """Code and short cause of a failure, from what the activity boundary gave; never its content."""
    cause = cause_of(error)
    code = getattr(cause, "type", None) or type(cause).__name__
    message = getattr(cause, "message", "") if isinstance(error, FailureError) else ""
    return str(code), message or type(error).__name__
