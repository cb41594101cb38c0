"""Counts the tokens of one answer: the server's counts where it gives them, else reckoned from the text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from portico.llm.types import Bill, Delta, Messages, OfferedTool
from portico.settings.models import RouteSettings
from portico.storage.usage import AnswerRecord

BROKEN_OFF = "broken_off"

BYTES_A_TOKEN = 4
"""English words and code come to about four bytes a token, a Chinese character (three bytes) to a little less."""
MOST_TOKENS = 1_000_000_000
"""A count over this is none."""


@dataclass(frozen=True)
class Tokens:
    """`estimated`: at least one of the counts was reckoned."""

    input: int
    output: int
    estimated: bool = False

    def cost(self, settings: RouteSettings) -> float:
        read, written = settings.input_cost_per_mtok, settings.output_cost_per_mtok
        return (self.input * read + self.output * written) / 1_000_000


class Meter:
    """Sees every delta of an answer, also of one that breaks off. `whole`: it came to its end."""

    def __init__(self, messages: Messages, tools: Sequence[OfferedTool] = ()) -> None:
        self.last = Delta()
        self.begun = False
        self.whole = False
        self._messages = messages
        self._tools = tools
        self._said_bytes = 0

    def add(self, delta: Delta) -> None:
        self.last = delta
        self.begun = True
        self._said_bytes += len(delta.text.encode(errors="replace"))
        self._said_bytes += sum(len(call.name) + len(call.arguments) for call in delta.calls)

    def tokens(self) -> Tokens:
        counted = self.last.input_tokens, self.last.output_tokens
        given = [count if isinstance(count, int) and 0 <= count < MOST_TOKENS else None for count in counted]
        read, written = given
        return Tokens(
            input=reckoned(self._asked_bytes()) if read is None else read,
            output=reckoned(self._said_bytes) if written is None else written,
            estimated=None in given,
        )

    def _asked_bytes(self) -> int:
        asked = [dict(message) for message in self._messages]
        tools = [asdict(tool) for tool in self._tools]
        written = json.dumps([asked, tools] if tools else asked, ensure_ascii=False, default=str)
        return len(written.encode(errors="replace"))


def record_of(route: str, settings: RouteSettings, meter: Meter, bill: Bill) -> AnswerRecord:
    """What is kept of an answer."""
    tokens = meter.tokens()
    return AnswerRecord(
        key=bill.key,
        person=bill.person,
        route=route,
        decision_id=bill.decision_id,
        finish=meter.last.finish if meter.whole else BROKEN_OFF,
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cost=tokens.cost(settings),
        estimated=tokens.estimated,
    )


def reckoned(size_bytes: int) -> int:
    """Tokens of a text of that size."""
    return -(-size_bytes // BYTES_A_TOKEN)
