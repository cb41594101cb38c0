"""A language model answers: over the routes that policy allows, in order, and with the tools that it may call."""

from __future__ import annotations

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from portico.contracts.steps import AllowedRoute, Generated, GenerateInput, ModelAnswer, ToolOutcome
    from portico.contracts.tool_steps import OfferAnswer, ToolOffer, ToolRequest
    from workflows import replies, tool_plans
    from workflows.active_turn import Running
    from workflows.delivery import Desk
    from workflows.state import Open, OpenPlan, OpenTool, ToolPlan
    from workflows.tool_children import Start, cancel_tool, start_tools

TOOLS_IN_CHAT = "tools-in-chat"
"""Runs that began before models could call tools go on as they began."""


class Writing:
    """Writes one answer after another; one that waits for tools leaves the conversation free."""

    def __init__(self, desk: Desk, opened: Open) -> None:
        self._desk = desk
        self._open = opened

    async def write(self, running: Running, *, language: str, intent: str = "") -> None:
        """Until the model has answered, has asked for tools, or cannot be asked."""
        turn = running.turn
        answer = await self._desk.steps.authorize_model(
            turn.turn_id,
            turn.actor,
            group=turn.message.group,
            patience=running.patience(),
            pinned=self._open.route,
            intent=intent,
        )
        if why := why_not(answer, self._open.route, language):
            await running.reply(why)
            return
        plan: ToolPlan | None = turn.plan or ToolPlan(language=language, turns_before=self._open.turns)
        while plan is not None and not running.stopped:
            plan = await self._round(running, answer, plan)

    async def _round(self, running: Running, answer: ModelAnswer, plan: ToolPlan) -> ToolPlan | None:
        """Ask once. The plan to go on with at once, where all calls were given back; else nothing."""
        offered = await self._offered(running)
        now = workflow.now().timestamp()
        if not plan.until:
            plan = plan.model_copy(update={"until": now + offered.bounds.seconds})
        may_call = tool_plans.offers(offered, plan, open_plans=len(self._open.plans), now=now)
        generated = await self._generated(running, answer, plan, may_call)
        if generated is None:
            return None
        plan = tool_plans.counted(plan, generated)
        verdict = tool_plans.judged(
            plan, generated, offered.bounds, may_call=bool(may_call), language=plan.language
        )
        if isinstance(verdict, tool_plans.Said):
            quoting = turns_between(plan, self._open)
            await running.reply(
                verdict.text,
                written_by=generated.route,
                quoting=quoting,
                files=replies.file_parts(plan.files),
            )
            return None
        if not verdict.calls:
            return verdict.plan
        await self._start(running, verdict.plan, verdict.calls)
        return None

    async def _offered(self, running: Running) -> OfferAnswer:
        if not workflow.patched(TOOLS_IN_CHAT):
            return OfferAnswer(to_models=False)
        turn = running.turn
        return await self._desk.steps.offer_tools(
            turn.turn_id, turn.actor, group=turn.message.group, patience=running.patience()
        )

    async def _generated(
        self, running: Running, answer: ModelAnswer, plan: ToolPlan, tools: tuple[ToolOffer, ...]
    ) -> Generated | None:
        """The model's answer; nothing where the person stopped it."""
        turn = running.turn
        retrieved = await self._desk.steps.retrieve(turn.turn_id, patience=running.patience())
        routes = routes_of(answer)
        for number, allowed in enumerate(routes):
            if running.stopped:
                return None
            given = GenerateInput(
                conversation=self._desk.conversation,
                turn_id=turn.turn_id,
                route=allowed.route,
                decision_id=allowed.decision.decision_id,
                dialogue=retrieved.lines,
                text=turn.message.text,
                language=plan.language,
                tools=tools,
                rounds=plan.rounds,
                person=turn.actor.id,
            )
            others_remain = number + 1 < len(routes)
            try:
                return await self._asked(running, given, others_remain=others_remain)
            except ActivityError as error:
                if is_cancelled_exception(error) or not others_remain:
                    raise
                workflow.logger.warning("turn.next_route", extra={"turn": turn.turn_id})
        return None

    async def _asked(
        self, running: Running, given: GenerateInput, *, others_remain: bool
    ) -> Generated | None:
        running.writing = self._desk.steps.generate(given, others_remain=others_remain)
        try:
            await running.patience(says="writing").wait_for(running.writing)
            return await running.writing
        except (ActivityError, asyncio.CancelledError) as error:
            if running.stopped and is_cancelled_exception(error):
                return None
            raise
        finally:
            running.writing = None

    async def _start(self, running: Running, plan: ToolPlan, calls: tuple[ToolRequest, ...]) -> None:
        """Start what the model asked for; the turn goes on when all of it has come back."""
        turn = running.turn
        starts = tuple(
            Start(call.name, call.parameters, number=plan.started + number, call_id=call.id)
            for number, call in enumerate(calls)
        )
        plan = plan.model_copy(update={"started": plan.started + len(calls)})
        going_on = turn.model_copy(update={"plan": plan})
        self._open.plans[turn.turn_id] = OpenPlan(
            turn=going_on, waiting=tuple(start.invocation_id(turn) for start in starts)
        )
        started = False
        try:
            await start_tools(self._desk, self._open, turn, starts, language=plan.language)
            started = True
        finally:
            if not started:
                self._open.plans.pop(turn.turn_id, None)
        if running.stopped:
            self._open.plans.pop(turn.turn_id, None)
            for start in starts:
                await cancel_tool(start.invocation_id(turn))

    def came_back(self, tool: OpenTool, outcome: ToolOutcome) -> OpenPlan | None:
        """What a tool brought, for the plan that waits for it. The turn goes on, before any other, once it has all.

        Nothing where the plan was stopped.
        """
        opened = self._open.plans.get(tool.turn_id)
        if opened is None or opened.turn.plan is None:
            return None
        result = outcome.result
        plan = tool_plans.returned(opened.turn.plan, tool.call_id, result)
        plan = plan.model_copy(
            update={"files": (*plan.files, *replies.kept_files(result))[: tool_plans.FILES]}
        )
        waiting = tuple(one for one in opened.waiting if one != tool.invocation_id)
        opened = OpenPlan(turn=opened.turn.model_copy(update={"plan": plan}), waiting=waiting)
        if waiting:
            self._open.plans[tool.turn_id] = opened
        else:
            self._open.plans.pop(tool.turn_id)
            self._open.queue.appendleft(opened.turn)
        return opened


def routes_of(answer: ModelAnswer) -> tuple[AllowedRoute, ...]:
    """In order of trial. An answer of an older release names one only."""
    if answer.routes or answer.route is None:
        return answer.routes
    return (AllowedRoute(route=answer.route, decision=answer.decision),)


def turns_between(plan: ToolPlan, opened: Open) -> bool:
    return bool(plan.rounds) and opened.turns != plan.turns_before


def why_not(answer: ModelAnswer, pinned: str, language: str) -> str:
    """Why no model writes: the pinned one may not, none is there, or none may. Empty where one may."""
    refused = next((line for line in answer.refused if pinned and line.startswith(f"{pinned}: ")), "")
    if refused:
        reason = refused.partition(": ")[2]
        return replies.text("route_refused", language, route=replies.shown(pinned), reason=reason)
    if answer.route is not None:
        return ""
    if answer.configured:
        return replies.text("model_denied", language, reason="; ".join(answer.decision.reasons))
    text = replies.text("no_model", language)
    if answer.offered:
        text += replies.text("model_offered", language, offers=", ".join(answer.offered))
    return text
