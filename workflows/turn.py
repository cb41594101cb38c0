"""The turn lane: understand, decide, answer. A turn that needs a tool leaves the conversation free."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from temporalio import workflow
from temporalio.exceptions import ActivityError, FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from portico.contracts import Actor, Message, MessageKind, Reply, ToolInvocation
    from portico.ids import tool_run_id
    from portico.steps import (
        Generated,
        GenerateInput,
        ModelAnswer,
        RememberInput,
        RouteRef,
        ToolOutcome,
        ToolRunInput,
    )
    from workflows import decide, replies
    from workflows.decide import Plan, Way
    from workflows.desk import Apology, Desk
    from workflows.state import OpenTool, QueuedTurn
    from workflows.steps import GivenUp, Patience
    from workflows.tool_run import INTERRUPTED, STEP_FAILED, ToolRun


class Turns:
    """Takes one turn after another and reports what tools bring back."""

    def __init__(self, desk: Desk, tools: dict[str, OpenTool]) -> None:
        self.taken = 0
        self._desk = desk
        self._tools = tools
        self._current: QueuedTurn | None = None
        self._writing: workflow.ActivityHandle[Generated] | None = None
        self._stopped = False

    async def take(self, turn: QueuedTurn) -> None:
        self._current, self._stopped = turn, False
        self.taken += 1
        workflow.set_current_details(f"turn {turn.turn_id[:8]} is being answered")
        language = decide.language_of(turn.message)
        try:
            await self._desk.within_boundary(
                self._answer(turn),
                turn_id=turn.turn_id,
                envelope=turn.envelope,
                apologize_to=Apology(turn.actor, language, turn.message.group),
            )
        finally:
            # No call of the workflow's here: a run that is evicted passes this outside of its event loop.
            self._current = self._writing = None
        workflow.set_current_details(f"turn {turn.turn_id[:8]} was the last")

    async def stop(self, actor: Actor) -> bool:
        """Cancel what this person started: the running turn and open tools. True where there was something."""
        stopped = False
        turn = self._current
        if turn is not None and _may_stop(actor, turn.actor):
            self._stopped = stopped = True
            if self._writing is not None:
                self._writing.cancel()
        for tool in [tool for tool in self._tools.values() if _may_stop(actor, tool.actor)]:
            stopped = True
            await _cancel(tool.invocation_id)
        return stopped

    async def report(self, outcome: ToolOutcome) -> None:
        """A tool's end is a reply of its own, which quotes the message that it answers."""
        tool = self._tools[outcome.invocation_id]
        await self._desk.within_boundary(
            self._report(tool, outcome),
            turn_id=tool.turn_id,
            envelope=tool.envelope,
            apologize_to=Apology(tool.actor, tool.language, tool.group),
        )
        self._tools.pop(outcome.invocation_id, None)

    async def _report(self, tool: OpenTool, outcome: ToolOutcome) -> None:
        memory = RememberInput(
            conversation=self._desk.conversation, turn_id=f"{tool.turn_id}.tool", message_id="", sender_id=""
        )
        await self._desk.answer(
            replies.tool_result(outcome.result, language=tool.language),
            turn_id=tool.turn_id,
            actor=tool.actor,
            group=tool.group,
            memory=memory,
            envelope=tool.envelope,
            quotes=tool.quotes,
            slot="tool",
        )
        error = outcome.result.error
        if error is not None and error.code in (STEP_FAILED, INTERRUPTED):
            await self._desk.bury(
                tool.turn_id, code=f"tool_{error.code}", cause=error.message, envelope=tool.envelope
            )

    async def _answer(self, turn: QueuedTurn) -> None:
        with suppress(GivenUp):
            plan, language = await self._plan(turn)
            if plan.way is Way.TOOL:
                await self._start_tool(turn, plan, language=language)
            elif plan.way is Way.MODEL:
                await self._write(turn, language=language)
            else:
                await self._reply(turn, plan.text)
        if self._stopped:
            await self._desk.remember(_memory(self._desk, turn))

    async def _plan(self, turn: QueuedTurn) -> tuple[Plan, str]:
        message = turn.message
        failed: tuple[str, ...] = ()
        if message.attachments:
            message, failed = await self._collect(turn)
        language = decide.language_of(message)
        plan = decide.decide_unreadable(message, language=language, failed=failed) or decide.decide_command(
            message, language=language
        )
        if plan is not None:
            return plan, language
        understood = await self._desk.steps.understand(turn.turn_id, message, patience=self._patience(turn))
        language = decide.language_of(message, understood)
        return decide.decide_intent(understood, language=language), language

    async def _collect(self, turn: QueuedTurn) -> tuple[Message, tuple[str, ...]]:
        collected = await self._desk.steps.collect(turn.turn_id, turn.message.attachments)
        return turn.message.model_copy(update={"attachments": collected.attachments}), collected.failed

    async def _reply(self, turn: QueuedTurn, text: str, *, written_by: str = "") -> None:
        if self._stopped:
            return
        quotes = turn.message.id if turn.message.group else ""
        await self._desk.answer(
            text,
            turn_id=turn.turn_id,
            actor=turn.actor,
            group=turn.message.group,
            memory=_memory(self._desk, turn),
            envelope=turn.envelope,
            quotes=quotes,
            written_by=written_by,
        )

    async def _start_tool(self, turn: QueuedTurn, plan: Plan, *, language: str) -> None:
        """Start the run as an abandoned child: it outlives every continue-as-new and reports by signal."""
        invocation_id = tool_run_id(turn.turn_id, 0)
        message = turn.message
        given = ToolRunInput(
            invocation_id=invocation_id,
            invocation=ToolInvocation(tool_name=plan.tool, parameters=plan.parameters),
            actor=turn.actor,
            conversation=self._desk.conversation,
            turn_id=turn.turn_id,
            quotes=message.id,
            language=language,
            report_to=workflow.info().workflow_id,
            split_queues=self._desk.split_queues,
        )
        self._tools[invocation_id] = OpenTool(
            invocation_id=invocation_id,
            tool_name=plan.tool,
            turn_id=turn.turn_id,
            quotes=message.id,
            actor=turn.actor,
            language=language,
            group=message.group,
            envelope=turn.envelope,
        )
        started = False
        try:
            await workflow.start_child_workflow(
                ToolRun.run,
                given,
                id=invocation_id,
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                static_summary=f"{plan.tool} for turn {turn.turn_id[:8]}",
            )
            started = True
        finally:
            if not started:
                self._tools.pop(invocation_id, None)
        await self._desk.remember(_memory(self._desk, turn))

    async def _write(self, turn: QueuedTurn, *, language: str) -> None:
        answer = await self._desk.steps.authorize_model(
            turn.turn_id, turn.actor, group=turn.message.group, patience=self._patience(turn)
        )
        if answer.route is None:
            await self._reply(turn, no_route_text(answer, language))
            return
        generated = await self._generate(turn, answer.route, answer.decision.decision_id, language=language)
        if generated is not None:
            await self._reply(turn, generated.text, written_by=generated.route)

    async def _generate(
        self, turn: QueuedTurn, route: RouteRef, decision_id: str, *, language: str
    ) -> Generated | None:
        """The model's answer; nothing where the person stopped it."""
        retrieved = await self._desk.steps.retrieve(turn.turn_id, patience=self._patience(turn))
        if self._stopped:
            return None
        self._writing = self._desk.steps.generate(
            GenerateInput(
                conversation=self._desk.conversation,
                turn_id=turn.turn_id,
                route=route,
                decision_id=decision_id,
                dialogue=retrieved.lines,
                text=turn.message.text,
                language=language,
            )
        )
        try:
            await self._patience(turn, says="writing").wait_for(self._writing)
            return await self._writing
        except (ActivityError, asyncio.CancelledError) as error:
            if self._stopped and is_cancelled_exception(error):
                return None
            raise

    def _patience(self, turn: QueuedTurn, *, says: str = "waiting") -> Patience:
        """How this turn waits. The chat page shows by itself that it does; a platform's person is told."""

        async def tell() -> None:
            if self._desk.conversation.channel == "web":
                return
            await self._desk.say(
                Reply.of_text(replies.text(says, decide.language_of(turn.message))),
                turn_id=turn.turn_id,
                actor=turn.actor,
                group=turn.message.group,
                kind="notice",
                slot=says,
            )

        return Patience(tell=tell, given_up=lambda: self._stopped)


def no_route_text(answer: ModelAnswer, language: str) -> str:
    """Why no model writes: none is there, or none may."""
    if answer.configured:
        return replies.text("model_denied", language, reason="; ".join(answer.decision.reasons))
    text = replies.text("no_model", language)
    if answer.offered:
        text += replies.text("model_offered", language, offers=", ".join(answer.offered))
    return text


def _memory(desk: Desk, turn: QueuedTurn) -> RememberInput:
    message = turn.message
    return RememberInput(
        conversation=desk.conversation,
        turn_id=turn.turn_id,
        message_id=message.id,
        sender_id=message.sender.id,
        said=message.text or (message.kind.value if message.kind is not MessageKind.TEXT else ""),
        said_at=message.sent_at,
    )


def _may_stop(actor: Actor, starter: Actor) -> bool:
    return actor.role == "owner" or actor.id == starter.id


async def _cancel(invocation_id: str) -> None:
    """Ask a tool run to stop. One that has just ended cannot be cancelled any more: its report is on its way."""
    try:
        await workflow.get_external_workflow_handle(invocation_id).cancel()
    except FailureError as error:
        if is_cancelled_exception(error):
            raise
        workflow.logger.info("tool.not_cancelled", extra={"invocation": invocation_id})
