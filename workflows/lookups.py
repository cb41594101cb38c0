"""Commands whose answer depends on what there is: `/tools`, `/tool`, `/model`."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from portico.contracts.messages import ADMIN_ROLES
    from portico.contracts.steps import ModelAnswer
    from portico.contracts.tool_steps import LookUpAnswer, LookUpQuestion
    from workflows import commands, replies
    from workflows.active_turn import Running
    from workflows.decide import Plan, Way
    from workflows.delivery import Desk
    from workflows.generation import routes_of, why_not
    from workflows.state import Open


class Lookups:
    """Answers such a command, or makes it the plan of a tool."""

    def __init__(self, desk: Desk, opened: Open) -> None:
        self._desk = desk
        self._open = opened

    async def look_up(self, running: Running, plan: Plan, *, language: str) -> Plan:
        if plan.way is Way.TYPED_TOOL:
            return await self._typed_tool(running, plan.text, language)
        if plan.way is Way.LIST_TOOLS:
            return _say(await self._list(running, language))
        return _say(await self._choose_model(running, plan.text.strip(), language))

    async def _list(self, running: Running, language: str) -> str:
        turn = running.turn
        answer = await self._desk.steps.offer_tools(
            turn.turn_id, turn.actor, group=turn.message.group, patience=running.patience()
        )
        return replies.tool_list(answer, language=language)

    async def _typed_tool(self, running: Running, rest: str, language: str) -> Plan:
        call = commands.typed_call(rest)
        if not call.name:
            return _say(replies.text("tool_usage", language))
        if call.fault:
            return _say(replies.text("tool_unclosed", language, mark=replies.shown(call.fault)))
        question = LookUpQuestion(name=call.name, pairs=call.pairs, loose=call.loose, given=call.given)
        found = await self._desk.steps.look_up_tool(
            running.turn.turn_id, question, patience=running.patience()
        )
        why = _why_not_run(call.name, found, language)
        return _say(why) if why else Plan(way=Way.TOOL, tool=call.name, parameters=found.parameters)

    async def _choose_model(self, running: Running, name: str, language: str) -> str:
        turn = running.turn
        if name and turn.message.group and turn.actor.role not in ADMIN_ROLES:
            return replies.text("model_not_yours", language)
        if name.lower() == "auto":
            self._open.route = name = ""
        answer = await self._desk.steps.authorize_model(
            turn.turn_id,
            turn.actor,
            group=turn.message.group,
            patience=running.patience(),
            pinned=name or self._open.route,
        )
        if not name:
            return _routes_text(answer, self._open.route, language)
        found = next((one.route for one in routes_of(answer) if one.route.name.lower() == name.lower()), None)
        if found is not None:
            self._open.route = found.name
            return replies.text("model_pinned", language, route=replies.shown(found.name), model=found.model)
        there = ", ".join(replies.shown(one.route.name) for one in routes_of(answer))
        reason = next(
            (line.partition(": ")[2] for line in answer.refused if line.startswith(f"{name}: ")), ""
        )
        return replies.text(
            "model_not_pinned", language, route=replies.shown(name), reason=reason or "?", routes=there or "–"
        )


def _say(text: str) -> Plan:
    return Plan(way=Way.SAY, text=text)


def _routes_text(answer: ModelAnswer, pinned: str, language: str) -> str:
    if not routes_of(answer) and not pinned:
        return why_not(answer, "", language)
    return replies.route_list(answer, routes_of(answer), pinned=pinned, language=language)


def _why_not_run(name: str, found: LookUpAnswer, language: str) -> str:
    shown = replies.shown(name)
    if not found.known:
        nearest = ", ".join(replies.shown(one) for one in found.nearest)
        meant = replies.text("tool_nearest", language, nearest=nearest) if nearest else ""
        return replies.text("tool_unheard", language, tool=shown) + meant
    if found.unavailable:
        return replies.text("tool_unavailable", language, tool=shown, reason=found.unavailable)
    if not found.faults:
        return ""
    faults = "\n".join(f"- {replies.shown_fault(fault)}" for fault in found.faults)
    return replies.text("tool_faults", language, tool=shown, faults=faults, usage=found.usage)
