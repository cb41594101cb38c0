"""What a request to a language model holds, checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from triton_models.llm.chat import BadRequest
from triton_models.llm.sampler import SamplerChoice

USUAL_TOP_K = 50
"""Where the model says nothing, or says how to take the most likely token only."""
STOPS = 16
LONGEST_STOP = 200
ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})


@dataclass(frozen=True)
class LlmRequest:
    """One answer that is asked for. `max_tokens` 0: as many as the context holds."""

    messages: list[dict[str, Any]]
    tools: list[Any]
    max_tokens: int
    choice: SamplerChoice
    stops: tuple[str, ...]


def read_request(raw: bytes, search: dict[str, Any]) -> LlmRequest:
    """`search` is the model's own, for what the request leaves open. Raises `BadRequest`."""
    try:
        asked = json.loads(raw)
    except ValueError as error:
        raise BadRequest(f"REQUEST is not JSON: {str(error)[:100]}") from None
    if not isinstance(asked, dict):
        raise BadRequest("REQUEST is not a JSON object")
    sampled = bool(search.get("do_sample"))
    usual = _number(search, "temperature", 1.0) if sampled else 0.0
    seed = asked.get("seed")
    return LlmRequest(
        messages=_messages(asked.get("messages")),
        tools=_list(asked, "tools"),
        max_tokens=int(_number(asked, "max_tokens", 0, high=1e9)),
        choice=SamplerChoice(
            temperature=_number(asked, "temperature", usual, high=5.0),
            top_p=max(_number(asked, "top_p", _number(search, "top_p", 1.0), high=1.0), 1e-6),
            top_k=int(_number(search, "top_k", USUAL_TOP_K, high=1e9)) if sampled else USUAL_TOP_K,
            repetition_penalty=_number(search, "repetition_penalty", 1.0) or 1.0,
            seed=abs(seed) if isinstance(seed, int) else None,
        ),
        stops=_stops(asked),
    )


def _messages(given: object) -> list[dict[str, Any]]:
    if not isinstance(given, list) or not given:
        raise BadRequest("messages is not a list with messages")
    for at, message in enumerate(given):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise BadRequest(f"messages[{at}] has no role of {', '.join(sorted(ROLES))}")
        if not isinstance(message.get("content"), str | list | None):
            raise BadRequest(f"messages[{at}].content is not a text")
    return given


def _list(asked: dict[str, Any], key: str) -> list[Any]:
    value = asked.get(key) or []
    if not isinstance(value, list):
        raise BadRequest(f"{key} is not a list")
    return value


def _stops(asked: dict[str, Any]) -> tuple[str, ...]:
    stops = _list(asked, "stop")
    if len(stops) > STOPS or not all(
        isinstance(stop, str) and 0 < len(stop) <= LONGEST_STOP for stop in stops
    ):
        raise BadRequest(f"stop takes up to {STOPS} texts of 1 to {LONGEST_STOP} characters")
    return tuple(stops)


def _number(asked: dict[str, Any], key: str, usual: float, *, high: float = 1e6) -> float:
    value = asked.get(key)
    if value is None:
        return usual
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= high:
        raise BadRequest(f"{key} is no number from 0 to {high:g}")
    return float(value)
