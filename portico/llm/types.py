"""What goes to a language model and what comes back, whatever kind of route it is. Pure data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Messages = Sequence[Mapping[str, Any]]
"""OpenAI chat messages: `role` (user, assistant, system, tool), `content`, `tool_calls`, `tool_call_id`."""


@dataclass(frozen=True)
class ModelCall:
    """A tool call that the model asks for. `arguments` is JSON text as the model wrote it, unparsed."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class OfferedTool:
    """A tool that the model may ask for. `parameters` is a JSON schema."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Delta:
    """A piece of an answer. The last one carries the counts, if the server gives them, and why it ended.

    `finish`: "stop", "tool_calls", "length" (the model's limit), "time_limit" (ours) or another word of the
    server's. `calls` are whole, and on the last one only.
    """

    text: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    finish: str = ""
    calls: tuple[ModelCall, ...] = ()


@dataclass(frozen=True)
class Bill:
    """For whom an answer is written. One with the same `key` is counted once, however often it is recorded."""

    key: str
    person: str
    decision_id: str
