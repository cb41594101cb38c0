"""The arrival lane: every event is normalized and authorized in order, concurrently with a running turn.

A control message acts at once; what may pass joins the queue of turns; everything else ends here, on purpose.
"""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from portico.contracts.messages import Actor, Envelope, Message, MessageKind, Reply
    from portico.contracts.steps import InboundAnswer, RememberInput
    from workflows import commands, decide, replies
    from workflows.approvals import Approvals
    from workflows.commands import ApprovalWord
    from workflows.delivery import Desk
    from workflows.generation import TOOLS_IN_CHAT
    from workflows.state import Open, QueuedTurn, SeenKeys
    from workflows.steps import new_id
    from workflows.turn import Turns


class Arrivals:
    """Handles one envelope after another."""

    def __init__(self, desk: Desk, seen: SeenKeys, opened: Open, turns: Turns, approvals: Approvals) -> None:
        self._desk = desk
        self._seen = seen
        self._open = opened
        self._turns = turns
        self._approvals = approvals

    async def handle(self, envelope: Envelope) -> None:
        if not self._seen.add(envelope.dedup_keys):
            return
        turn_id = envelope.turn or new_id()
        await self._desk.within_boundary(self._arrive(turn_id, envelope), turn_id=turn_id, envelope=envelope)

    async def _arrive(self, turn_id: str, envelope: Envelope) -> None:
        normalized = await self._desk.steps.normalize(turn_id, envelope)
        message = normalized.message
        if message is None:
            return
        answer = await self._desk.steps.authorize_inbound(turn_id, message)
        if not answer.decision.allowed:
            await self._turn_away(turn_id, message, answer)
        elif message.kind is MessageKind.PAIR:
            await self._pair(turn_id, message)
        elif decide.is_stop(message):
            await self._stop(turn_id, message, answer.actor)
        elif (word := commands.approval_word(message)) and workflow.patched(TOOLS_IN_CHAT):
            await self._approve(turn_id, message, answer.actor, word)
        else:
            self._open.queue.append(
                QueuedTurn(turn_id=turn_id, message=message, actor=answer.actor, envelope=envelope)
            )

    async def _turn_away(self, turn_id: str, message: Message, answer: InboundAnswer) -> None:
        """A stranger gets a pairing code and nothing else; in a group, not even that."""
        if not answer.decision.obliges("offer_pairing"):
            return
        offered = await self._desk.steps.offer_pairing(turn_id, message)
        if not offered.code:
            return
        text = replies.text("pairing_code", decide.language_of(message), code=offered.code)
        await self._desk.say(
            Reply.of_text(text), turn_id=turn_id, actor=answer.actor, group=message.group, kind="pairing"
        )

    async def _pair(self, turn_id: str, message: Message) -> None:
        """Somebody opened the owner's one-time link."""
        redeemed = await self._desk.steps.redeem_pairing(turn_id, message)
        name = "paired" if redeemed.actor else "pairing_failed"
        text = replies.text(name, decide.language_of(message))
        actor = redeemed.actor or Actor()
        await self._desk.say(
            Reply.of_text(text), turn_id=turn_id, actor=actor, group=message.group, kind="pairing"
        )

    async def _stop(self, turn_id: str, message: Message, actor: Actor) -> None:
        """`/stop` acts at once, given by the person whose turn it is or by the owner."""
        stopped = await self._turns.stop(actor)
        text = replies.text("stopped" if stopped else "nothing_to_stop", decide.language_of(message))
        await self._answer(turn_id, message, actor, text)

    async def _approve(self, turn_id: str, message: Message, actor: Actor, word: ApprovalWord) -> None:
        """A yes or no acts at once, given by a person: what a model or tool writes never comes this way."""
        text = await self._approvals.answer(turn_id, message, actor, word)
        await self._answer(turn_id, message, actor, text)

    async def _answer(self, turn_id: str, message: Message, actor: Actor, text: str) -> None:
        memory = RememberInput(
            conversation=self._desk.conversation,
            turn_id=turn_id,
            message_id=message.id,
            sender_id=message.sender.id,
            said=message.text,
            said_at=message.sent_at,
        )
        await self._desk.answer(text, turn_id=turn_id, actor=actor, group=message.group, memory=memory)
