"""Builds a model's prompt and parses its tool calls. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from pydantic import JsonValue

from portico.contracts.steps import DialogueLine, GenerateInput
from portico.contracts.tool_steps import ToolRequest, ToolRound
from portico.llm.routes import ModelCall
from portico.texts import catalog
from portico.tool import ToolSpec
from portico.tools.checks import faults

DIALOGUE_CHARACTERS = 12_000
"""What small local models can hold besides the answer; older lines are left out."""
ARGUMENTS_LENGTH = 16_000
SHOWN_ARGUMENTS = 300
MOST_CALLS = 32


def messages(step: GenerateInput, *, today: date, offered: bool) -> list[dict[str, Any]]:
    """The rules, the newest lines of the dialogue that fit, the question, and what tools have brought so far."""
    rules = _rules(step.language, today=today, offered=offered, called=bool(step.rounds))
    lines = newest(step.dialogue, room=DIALOGUE_CHARACTERS - len(step.text))
    return [
        {"role": "system", "content": rules},
        *({"role": line.role, "content": line.text} for line in lines),
        {"role": "user", "content": step.text},
        *(message for done in step.rounds for message in _round(done)),
    ]


def newest(dialogue: tuple[DialogueLine, ...], *, room: int) -> tuple[DialogueLine, ...]:
    """The last lines that fit into `room` characters together, beginning with one of the person's."""
    first = len(dialogue)
    while first and len(dialogue[first - 1].text) <= room:
        first -= 1
        room -= len(dialogue[first].text)
    while first < len(dialogue) and dialogue[first].role != "user":
        first += 1
    return dialogue[first:]


def requests(
    calls: Sequence[ModelCall], offered: Mapping[str, ToolSpec], *, round_number: int
) -> tuple[ToolRequest, ...]:
    """The calls that the model wrote, each with its parameters or with what is wrong with it."""
    return tuple(
        _request(call, offered, f"call-{round_number}-{number}")
        for number, call in enumerate(calls[:MOST_CALLS])
    )


def _rules(language: str, *, today: date, offered: bool, called: bool) -> str:
    known = "language" if language in catalog.LANGUAGES else "language_other"
    spoken = catalog.text("prompts", known, language)
    tools = "with_tools" if offered else "after_tools" if called else "without_tools"
    who = catalog.text("prompts", "who", language, today=today.isoformat(), language=spoken)
    return who + catalog.text("prompts", tools, language) + catalog.text("prompts", "honest", language)


def _round(done: ToolRound) -> list[dict[str, Any]]:
    """A round as the model's own message and the tools' answers to it."""
    calls = [
        {
            "id": call.id,
            "type": "function",
            # Arguments that were no JSON would make servers refuse the whole request; its answer quotes them.
            "function": {"name": call.name, "arguments": json.dumps(call.parameters, ensure_ascii=False)},
        }
        for call in done.calls
    ]
    returned = [{"role": "tool", "tool_call_id": one.id, "content": one.text} for one in done.results]
    return [{"role": "assistant", "content": done.text or None, "tool_calls": calls}, *returned]


def _request(call: ModelCall, offered: Mapping[str, ToolSpec], id: str) -> ToolRequest:
    """Ids are ours: not every server makes them, or different ones."""
    name = call.name[:64]
    shown = call.arguments[:SHOWN_ARGUMENTS]
    tool = offered.get(call.name)
    if tool is None:
        there = ", ".join(offered) or "none"
        return ToolRequest(
            id=id, name=name, arguments=shown, problem=f"no tool of that name is offered; there are: {there}"
        )
    parameters, problem = _parameters(call.arguments)
    problem = problem or "; ".join(f"{one.path}: {one.message}" for one in faults(tool, parameters))
    if problem:
        return ToolRequest(id=id, name=name, arguments=shown, problem=problem)
    return ToolRequest(id=id, name=name, parameters=parameters)


def _parameters(arguments: str) -> tuple[dict[str, JsonValue], str]:
    if len(arguments) > ARGUMENTS_LENGTH:
        return {}, f"its arguments are longer than {ARGUMENTS_LENGTH} characters"
    try:
        # Some servers write nothing, or null, where a call has no arguments.
        parameters = json.loads(arguments.strip() or "{}", parse_constant=_no_number)
    except (ValueError, RecursionError):
        return {}, "its arguments are not JSON"
    if parameters is None:
        return {}, ""
    return (parameters, "") if isinstance(parameters, dict) else ({}, "its arguments are no JSON object")


def _no_number(name: str) -> float:
    raise ValueError(name)
