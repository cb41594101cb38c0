"""A model that answers with the help of tools: what becomes of the calls that it asks for. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pydantic import JsonValue

from portico.contracts.messages import ExecutionResult, ExecutionStatus
from portico.contracts.steps import Generated
from portico.contracts.tool_steps import (
    OfferAnswer,
    ToolBounds,
    ToolOffer,
    ToolRequest,
    ToolReturn,
    ToolRound,
)
from workflows import replies
from workflows.state import ConversationState, QueuedTurn, ToolPlan

RESULT_LENGTH = 10_000
PLAN_LENGTH = 24_000
"""Of what all tools of a plan returned, in characters: what many models can hold besides the dialogue."""
OLD_RESULT_LENGTH = 300
PARAMETER_LENGTH = 400
TEXT_LENGTH = 1_000
CARRIED_LENGTH = 5_000
"""Of what all open plans hold, in characters, when a conversation renews: what is carried stays below 100 KB."""
FILES = 8
"""So many files of its tools an answer brings along."""
OPEN_PLANS = 4
"""So many answers of one conversation may wait for tools; a further one is given without."""


@dataclass(frozen=True)
class Said:
    """The model has answered, or cannot be helped."""

    text: str


@dataclass(frozen=True)
class Calls:
    """The plan with a round more, and the calls to start for it."""

    plan: ToolPlan
    calls: tuple[ToolRequest, ...]


def offers(answer: OfferAnswer, plan: ToolPlan, *, open_plans: int, now: float) -> tuple[ToolOffer, ...]:
    """What the model may call in the next round; nothing once a bound is reached."""
    bounds = answer.bounds
    spent = len(plan.rounds) >= bounds.rounds or plan.tokens >= bounds.tokens
    if spent or not answer.to_models or open_plans >= OPEN_PLANS or (plan.rounds and now >= plan.until):
        return ()
    return tuple(
        ToolOffer(name=tool.name, content_hash=tool.content_hash)
        for tool in answer.tools
        if tool.usable and tool.to_models
    )


def counted(plan: ToolPlan, generated: Generated) -> ToolPlan:
    """With the tokens of one more request; a server that counts none is estimated by the length of its answer."""
    used = (generated.input_tokens or 0) + (generated.output_tokens or len(generated.text) // 4)
    return plan.model_copy(update={"tokens": plan.tokens + used})


def judged(
    plan: ToolPlan, generated: Generated, bounds: ToolBounds, *, may_call: bool, language: str
) -> Said | Calls:
    """Either the end, or a round: calls that fit are made, others are given back to the model, once."""
    if not generated.calls:
        return Said(generated.text)
    if not may_call:
        return Said(generated.text or replies.text("tools_without_answer", language))
    faulty = [call for call in generated.calls if call.problem]
    if faulty and plan.faulty:
        return Said(_could_not_call(generated.text, faulty[0], language))
    good = [call for call in generated.calls if not call.problem]
    returned = [ToolReturn(id=call.id, text=f"This call was not made: {call.problem}.") for call in faulty]
    most = f"This call was not made: at most {bounds.calls} calls at once. Ask for it again."
    returned += [ToolReturn(id=call.id, text=most) for call in good[bounds.calls :]]
    done = ToolRound(
        text=generated.text[:TEXT_LENGTH],
        calls=tuple(_shortened(call) for call in generated.calls),
        results=tuple(returned),
    )
    changes = {"rounds": (*plan.rounds, done), "faulty": plan.faulty + bool(faulty)}
    return Calls(plan.model_copy(update=changes), tuple(good[: bounds.calls]))


def returned(plan: ToolPlan, call_id: str, result: ExecutionResult) -> ToolPlan:
    """The plan with what a call came to, cut so that a plan never grows without bound."""
    *earlier, last = plan.rounds
    came = ToolReturn(id=call_id, text=_bounded(result_text(result), RESULT_LENGTH))
    order = [call.id for call in last.calls]
    results = sorted((*last.results, came), key=lambda one: order.index(one.id) if one.id in order else 0)
    rounds = (*earlier, last.model_copy(update={"results": tuple(results)}))
    return plan.model_copy(update={"rounds": _fitted(rounds, PLAN_LENGTH)})


def carried(state: ConversationState) -> ConversationState:
    """The state with plans that are small enough to be carried; what was cut says so to the model."""
    begun = [turn for turn in state.queue if turn.plan is not None]
    room = CARRIED_LENGTH // max(1, len(begun) + len(state.plans))

    def small(turn: QueuedTurn) -> QueuedTurn:
        if turn.plan is None:
            return turn
        fitted = _fitted(turn.plan.rounds, room, old=40)
        rounds = (*map(_bare, fitted[:-1]), *map(_short, fitted[-1:]))
        return turn.model_copy(update={"plan": turn.plan.model_copy(update={"rounds": rounds})})

    return state.model_copy(
        update={
            "queue": tuple(small(turn) for turn in state.queue),
            "plans": tuple(one.model_copy(update={"turn": small(one.turn)}) for one in state.plans),
        }
    )


def result_text(result: ExecutionResult) -> str:
    """What a tool came to, as the model reads it."""
    error = result.error
    if result.status is ExecutionStatus.SUCCEEDED:
        files = ", ".join(f"{one.name} ({one.media_type})" for one in result.artifacts)
        text = replies.output_text(result)
        return f"{text}\n[files, shown to the person: {files}]" if files else text
    why = f"{error.code}: {error.message}" if error else ""
    ended = {
        ExecutionStatus.DENIED: "denied, do not try it again",
        ExecutionStatus.UNKNOWN: "interrupted; nobody knows whether it took effect, do not repeat it",
        ExecutionStatus.INTERRUPTED: "interrupted",
        ExecutionStatus.CANCELLED: "stopped by a person",
    }.get(result.status, "failed")
    return f"[{ended}] {why}".strip()


def _could_not_call(text: str, call: ToolRequest, language: str) -> str:
    said = replies.text("could_not_call", language, tool=replies.shown(call.name), problem=call.problem[:300])
    return f"{text}\n\n{said}" if text else said


def _shortened(call: ToolRequest) -> ToolRequest:
    """As it is shown to the model later: long values are cut, the run has them whole."""
    cut = {name: _cut(value) for name, value in call.parameters.items()}
    return call.model_copy(update={"parameters": cut, "arguments": ""})


def _cut(value: JsonValue, limit: int = PARAMETER_LENGTH) -> JsonValue:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(text) <= limit else _bounded(text, limit)


def _bare(done: ToolRound) -> ToolRound:
    """An earlier round, of which the model need only know what it called."""
    calls = tuple(call.model_copy(update={"parameters": {}}) for call in done.calls)
    return done.model_copy(update={"text": "", "calls": calls})


def _short(done: ToolRound) -> ToolRound:
    cut = [{name: _cut(value, 100) for name, value in call.parameters.items()} for call in done.calls]
    calls = tuple(
        call.model_copy(update={"parameters": one}) for call, one in zip(done.calls, cut, strict=True)
    )
    return done.model_copy(update={"text": _bounded(done.text, 200), "calls": calls})


def _fitted(
    rounds: tuple[ToolRound, ...], room: int, *, old: int = OLD_RESULT_LENGTH
) -> tuple[ToolRound, ...]:
    """The newest results whole, older ones cut short where all together are too long."""
    kept: list[ToolRound] = []
    for done in reversed(rounds):
        results = []
        for one in reversed(done.results):
            text = one.text if len(one.text) <= room else _bounded(one.text, max(old, room))
            room -= min(room, len(text))
            results.append(one.model_copy(update={"text": text}))
        kept.append(done.model_copy(update={"results": tuple(reversed(results))}))
    return tuple(reversed(kept))


def _bounded(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    note = f"… [cut: {len(text)} characters in all]"
    return text[: limit - len(note)] + note
