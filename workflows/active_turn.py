"""The turn that is being taken: how it waits, what it says, and that a person may stop it."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from channels.facts import LIVE
    from portico.contracts.messages import Actor, MessageKind, Part, Reply
    from portico.contracts.steps import Generated, RememberInput
    from workflows import decide, replies
    from workflows.delivery import Desk
    from workflows.state import QueuedTurn
    from workflows.steps import Patience


class Running:
    """One turn, from its beginning to its end or to the tools that it waits for."""

    def __init__(self, desk: Desk, turn: QueuedTurn) -> None:
        self.turn = turn
        self.stopped = False
        self.writing: workflow.ActivityHandle[Generated] | None = None
        self._desk = desk

    def stop(self) -> None:
        self.stopped = True
        if self.writing is not None:
            self.writing.cancel()

    def patience(self, *, says: str = "waiting") -> Patience:
        """How this turn waits. Live channels show that themselves; on others the person gets a notice."""

        async def tell() -> None:
            if self._desk.conversation.channel in LIVE:
                return
            await self._desk.say(
                Reply.of_text(replies.text(says, decide.language_of(self.turn.message))),
                turn_id=self.turn.turn_id,
                actor=self.turn.actor,
                group=self.turn.message.group,
                kind="notice",
                slot=says,
            )

        return Patience(tell=tell, given_up=lambda: self.stopped)

    async def reply(
        self, text: str, *, written_by: str = "", quoting: bool = False, files: tuple[Part, ...] = ()
    ) -> None:
        """Say it and remember both sides, unless this turn was stopped. A group's answer always quotes."""
        if self.stopped:
            return
        message = self.turn.message
        await self._desk.answer(
            text,
            turn_id=self.turn.turn_id,
            actor=self.turn.actor,
            group=message.group,
            memory=memory(self._desk, self.turn),
            envelope=self.turn.envelope,
            files=files,
            quotes=message.id if message.group or quoting else "",
            written_by=written_by,
        )


def memory(desk: Desk, turn: QueuedTurn) -> RememberInput:
    """What the person said, to be remembered with or without an answer."""
    message = turn.message
    return RememberInput(
        conversation=desk.conversation,
        turn_id=turn.turn_id,
        message_id=message.id,
        sender_id=message.sender.id,
        said=message.text or (message.kind.value if message.kind is not MessageKind.TEXT else ""),
        said_at=message.sent_at,
    )


def may_stop(actor: Actor, starter: Actor) -> bool:
    return actor.role == "owner" or actor.id == starter.id
