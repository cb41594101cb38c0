"""The turn lane: understand, decide, answer. A turn that needs a tool leaves the conversation free."""

from __future__ import annotations

from contextlib import suppress

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from portico.contracts.messages import Actor, Envelope, Message
    from portico.contracts.steps import RememberInput, ToolOutcome
    from workflows import decide, replies
    from workflows.active_turn import Running, may_stop, memory
    from workflows.decide import Plan, Way
    from workflows.delivery import Apology, Desk
    from workflows.generation import TOOLS_IN_CHAT, Writing
    from workflows.lookups import Lookups
    from workflows.state import Open, OpenTool, QueuedTurn
    from workflows.steps import GivenUp
    from workflows.tool_children import Start, cancel_tool, start_tools
    from workflows.tool_run import INTERRUPTED, STEP_FAILED


class Turns:
    """Takes one turn after another and reports what tools bring back."""

    def __init__(self, desk: Desk, opened: Open) -> None:
        self._desk = desk
        self._open = opened
        self._lookups = Lookups(desk, opened)
        self._writing = Writing(desk, opened)
        self._running: Running | None = None

    async def take(self, turn: QueuedTurn) -> None:
        self._running = running = Running(self._desk, turn)
        if turn.plan is None:
            self._open.turns += 1
        workflow.set_current_details(f"turn {turn.turn_id[:8]} is being answered")
        language = decide.language_of(turn.message)
        try:
            await self._desk.within_boundary(
                self._answer(running),
                turn_id=turn.turn_id,
                envelope=turn.envelope,
                apologize_to=Apology(turn.actor, language, turn.message.group),
            )
        finally:
            # No call of the workflow's here: a run that is evicted passes this outside of its event loop.
            self._running = None
        workflow.set_current_details(f"turn {turn.turn_id[:8]} was the last")

    async def stop(self, actor: Actor) -> bool:
        """Cancel what this person started: the running turn, answers that wait, open tools. True where there was
        something."""
        running = self._running
        stopped = running is not None and may_stop(actor, running.turn.actor)
        if running is not None and stopped:
            running.stop()
        dropped = self._drop_plans(actor)
        tools = [tool for tool in self._open.tools.values() if may_stop(actor, tool.actor)]
        for tool in tools:
            await cancel_tool(tool.invocation_id)
        for turn in dropped:
            await self._desk.remember(memory(self._desk, turn))
        return stopped or bool(dropped) or bool(tools)

    async def report(self, outcome: ToolOutcome) -> None:
        """A tool's end is a reply of its own, which quotes the message that it answers; or what a model waits for."""
        tool = self._open.tools.get(outcome.invocation_id)
        if tool is None:
            return
        self._end_approvals(outcome.invocation_id)
        if tool.call_id:
            # Nothing may come between this and the place in the queue: a renewal carries one of the two.
            self._open.tools.pop(outcome.invocation_id)
        await self._desk.within_boundary(
            self._returned(tool, outcome) if tool.call_id else self._report(tool, outcome),
            turn_id=tool.turn_id,
            envelope=tool.envelope,
            apologize_to=Apology(tool.actor, tool.language, tool.group),
        )
        self._open.tools.pop(outcome.invocation_id, None)

    def _drop_plans(self, actor: Actor) -> list[QueuedTurn]:
        """Answers that wait for tools, or for their turn after them, are given up."""
        waiting = [plan.turn for plan in self._open.plans.values() if may_stop(actor, plan.turn.actor)]
        for turn in waiting:
            self._open.plans.pop(turn.turn_id)
        ready = [turn for turn in self._open.queue if turn.plan is not None and may_stop(actor, turn.actor)]
        for turn in ready:
            self._open.queue.remove(turn)
        return waiting + ready

    def _end_approvals(self, invocation_id: str) -> None:
        for approval in [one for one in self._open.approvals.values() if one.invocation_id == invocation_id]:
            self._open.settle(approval, "ended", now=workflow.now().timestamp())

    async def _returned(self, tool: OpenTool, outcome: ToolOutcome) -> None:
        plan = self._writing.came_back(tool, outcome)
        if plan is not None:
            await self._bury_our_failure(outcome, turn_id=tool.turn_id, envelope=plan.turn.envelope)

    async def _bury_our_failure(
        self, outcome: ToolOutcome, *, turn_id: str, envelope: Envelope | None
    ) -> None:
        error = outcome.result.error
        if error is not None and error.code in (STEP_FAILED, INTERRUPTED):
            await self._desk.bury(turn_id, code=f"tool_{error.code}", cause=error.message, envelope=envelope)

    async def _report(self, tool: OpenTool, outcome: ToolOutcome) -> None:
        remembered = RememberInput(
            conversation=self._desk.conversation, turn_id=f"{tool.turn_id}.tool", message_id="", sender_id=""
        )
        await self._desk.answer(
            replies.tool_result(outcome.result, language=tool.language),
            turn_id=tool.turn_id,
            actor=tool.actor,
            group=tool.group,
            memory=remembered,
            envelope=tool.envelope,
            files=replies.file_parts(replies.kept_files(outcome.result)),
            quotes=tool.quotes,
            slot="tool",
        )
        await self._bury_our_failure(outcome, turn_id=tool.turn_id, envelope=tool.envelope)

    async def _answer(self, running: Running) -> None:
        turn = running.turn
        with suppress(GivenUp):
            if turn.plan is not None:
                await self._writing.write(running, language=turn.plan.language)
            else:
                await self._begin(running)
        if running.stopped:
            await self._desk.remember(memory(self._desk, turn))

    async def _begin(self, running: Running) -> None:
        plan, language, intent = await self._decided(running)
        if plan.way in decide.LOOKED_UP.values():
            plan = await self._lookups.look_up(running, plan, language=language)
        if plan.way is Way.TOOL:
            await self._start_tool(running.turn, plan, language=language)
        elif plan.way is Way.MODEL:
            await self._writing.write(running, language=language, intent=intent)
        else:
            await running.reply(plan.text)

    async def _decided(self, running: Running) -> tuple[Plan, str, str]:
        """What to do, in which language, and the intent that was understood, if one had to be."""
        turn = running.turn
        message = turn.message
        failed: tuple[str, ...] = ()
        if message.attachments:
            message, failed = await self._collect(turn)
        language = decide.language_of(message)
        plan = decide.decide_unreadable(message, language=language, failed=failed) or decide.decide_command(
            message, language=language
        )
        if plan is not None and plan.way in decide.LOOKED_UP.values() and not workflow.patched(TOOLS_IN_CHAT):
            plan = decide.unknown_command(message, language=language)
        if plan is not None:
            return plan, language, ""
        understood = await self._desk.steps.understand(turn.turn_id, message, patience=running.patience())
        language = decide.language_of(message, understood)
        intent = understood.understanding.intent
        return decide.decide_intent(understood, language=language), language, intent

    async def _collect(self, turn: QueuedTurn) -> tuple[Message, tuple[str, ...]]:
        collected = await self._desk.steps.collect(turn.turn_id, turn.message.attachments)
        return turn.message.model_copy(update={"attachments": collected.attachments}), collected.failed

    async def _start_tool(self, turn: QueuedTurn, plan: Plan, *, language: str) -> None:
        """The tool's result is a reply of its own; what the person said is remembered now."""
        start = Start(plan.tool, plan.parameters)
        await start_tools(self._desk, self._open, turn, (start,), language=language)
        await self._desk.remember(memory(self._desk, turn))
