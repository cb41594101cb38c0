"""Slash commands as people type them. Pure: what a name stands for is looked up by an activity."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from pydantic import JsonValue

from portico.contracts.messages import Message, MessageKind

_KEY = re.compile(r"([A-Za-z_][A-Za-z0-9_-]{0,63})=")
_QUOTES = {'"': '"', "'": "'", "“": "”", "「": "」"}
_APPROVAL = re.compile(r"/(approve|deny)\s+(\S{1,200})\s*", re.IGNORECASE)


def _no_number(name: str) -> float:
    raise ValueError(name)


_JSON = json.JSONDecoder(parse_constant=_no_number)


@dataclass(frozen=True)
class TypedCall:
    """`/tool NAME …` in pieces: `pairs` had a name, `loose` words had none, `given` came as a JSON object."""

    name: str = ""
    pairs: tuple[tuple[str, str], ...] = ()
    loose: tuple[str, ...] = ()
    given: dict[str, JsonValue] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True)
class ApprovalWord:
    """`/approve CODE` or `/deny CODE`."""

    approved: bool
    code: str


def approval_word(message: Message) -> ApprovalWord | None:
    """A person's own command or button; quoted or forwarded text is not a command."""
    if message.kind not in (MessageKind.COMMAND, MessageKind.BUTTON):
        return None
    found = _APPROVAL.fullmatch(message.text.strip())
    return ApprovalWord(found[1].lower() == "approve", found[2]) if found else None


def typed_call(rest: str) -> TypedCall:
    """What follows `/tool`: a name, then `key=value`, `key="two words"`, `key={json}`, `{json}` or plain words."""
    name, _, words = rest.strip().partition(" ")
    name, newline, more = name.partition("\n")
    reader = _Reader((more + " " + words if newline else words).strip())
    try:
        reader.read()
    except _Unclosed as unclosed:
        return TypedCall(name=name, fault=unclosed.mark)
    return TypedCall(name, tuple(reader.pairs), tuple(reader.loose), reader.given)


class _Unclosed(Exception):
    """A quotation mark or bracket that does not end."""

    def __init__(self, mark: str) -> None:
        super().__init__(mark)
        self.mark = mark


class _Reader:
    """Takes one word after another from a text."""

    def __init__(self, text: str) -> None:
        self.pairs: list[tuple[str, str]] = []
        self.loose: list[str] = []
        self.given: dict[str, JsonValue] = {}
        self._text = text
        self._at = 0

    def read(self) -> None:
        while self._skip_space():
            found = _KEY.match(self._text, self._at)
            if found is not None:
                self._at = found.end()
                self.pairs.append((found[1], self._value()))
            elif self._text[self._at] == "{":
                self._take_object()
            else:
                self.loose.append(self._value())

    def _skip_space(self) -> bool:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1
        return self._at < len(self._text)

    def _take_object(self) -> None:
        value = _JSON.decode(self._json())
        if isinstance(value, dict):
            self.given.update(value)

    def _value(self) -> str:
        first = self._text[self._at : self._at + 1]
        if first in _QUOTES:
            return self._quoted(_QUOTES[first])
        if first and first in "{[":
            return self._json()
        start = self._at
        while self._at < len(self._text) and not self._text[self._at].isspace():
            self._at += 1
        return self._text[start : self._at]

    def _quoted(self, end: str) -> str:
        mark = self._text[self._at]
        taken: list[str] = []
        self._at += 1
        while self._at < len(self._text):
            character = self._text[self._at]
            following = self._text[self._at + 1 : self._at + 2]
            if character == "\\" and following in (end, "\\"):
                character, self._at = following, self._at + 1
            elif character == end:
                self._at += 1
                return "".join(taken)
            taken.append(character)
            self._at += 1
        raise _Unclosed(mark)

    def _json(self) -> str:
        start = self._at
        try:
            _, self._at = _JSON.raw_decode(self._text, start)
        except (ValueError, RecursionError):
            raise _Unclosed(self._text[start]) from None
        return self._text[start : self._at]
