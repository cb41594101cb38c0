"""What to do with an understood message: a pure function of message and understanding."""

from __future__ import annotations

from enum import StrEnum

from pydantic import JsonValue

from portico.contracts.messages import Contract, Message, MessageKind
from portico.contracts.steps import Understood
from portico.texts import catalog
from workflows import replies

STOP_WORDS = frozenset({"/stop", "stop", "停", "停止"})


class Way(StrEnum):
    SAY = "say"
    TOOL = "tool"
    MODEL = "model"
    LIST_TOOLS = "list_tools"
    TYPED_TOOL = "typed_tool"
    CHOOSE_MODEL = "choose_model"


LOOKED_UP = {"tools": Way.LIST_TOOLS, "tool": Way.TYPED_TOOL, "model": Way.CHOOSE_MODEL}
"""Commands whose answer depends on what there is: an activity looks it up."""


class Plan(Contract):
    """One way to answer, with what it needs. `text` is what to say, or what followed the command."""

    way: Way
    text: str = ""
    tool: str = ""
    parameters: dict[str, JsonValue] = {}


def is_stop(message: Message) -> bool:
    """`/stop`, in every channel, and the bare word; anything longer is an ordinary message."""
    return message.text.strip().lower().rstrip(".!。！") in STOP_WORDS


def language_of(message: Message, understood: Understood | None = None) -> str:
    """The language to answer in: that of the text, else that of the person's client."""
    spoken = understood.understanding.language if understood else "und"
    return catalog.nearest(spoken if spoken not in ("", "und") else message.locale)


def decide_command(message: Message, *, language: str) -> Plan | None:
    """The plan of a slash command; nothing for ordinary text."""
    if message.kind is not MessageKind.COMMAND:
        return None
    word, rest = _split(message.text.strip())
    name = word.lower().removeprefix("/")
    if name in ("start", "help"):
        return Plan(way=Way.SAY, text=replies.text("help", language))
    if name == "time":
        return Plan(way=Way.TOOL, tool="time", parameters={"place": rest.strip()} if rest.strip() else {})
    if name in ("calc", "calculator"):
        if not rest.strip():
            return Plan(way=Way.SAY, text=replies.text("calc_usage", language))
        return Plan(way=Way.TOOL, tool="calculator", parameters={"expression": rest.strip()})
    if name in LOOKED_UP:
        return Plan(way=LOOKED_UP[name], text=rest)
    return unknown_command(message, language=language)


def unknown_command(message: Message, *, language: str) -> Plan:
    word, _ = _split(message.text.strip())
    return Plan(way=Way.SAY, text=replies.text("unknown_command", language, command=replies.shown(word)))


def decide_intent(understood: Understood, *, language: str) -> Plan:
    """The plan of an intent's action; free text goes to a model."""
    action = understood.action
    if action is None or action.ask_model:
        return Plan(way=Way.MODEL)
    if action.tool:
        return Plan(way=Way.TOOL, tool=action.tool, parameters=action.parameters)
    return Plan(way=Way.SAY, text=action.reply.get(language) or next(iter(action.reply.values()), ""))


def decide_unreadable(message: Message, *, language: str, failed: tuple[str, ...]) -> Plan | None:
    """What to say of a message that is nothing but attachments."""
    if not message.attachments or message.text.strip():
        return None
    return Plan(
        way=Way.SAY, text=replies.attachments_note(message.attachments, language=language, failed=failed)
    )


def _split(text: str) -> tuple[str, str]:
    """The command and what follows it, also on a new line."""
    word, *rest = text.split(maxsplit=1)
    return word, rest[0] if rest else ""
