"""Requests of OpenAI clients, and how they become requests to a route."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from api.openai.errors import Unsupported
from portico.llm.routes import OfferedTool

MOST_MESSAGES = 2000
MOST_TOOLS = 128
TO_BE_PASSED_ON = (
    "top_p", "frequency_penalty", "presence_penalty", "response_format", "parallel_tool_calls", "reasoning_effort",
)  # fmt: skip
"""Fields that go to an OpenAI-compatible server as they are; Triton's models do not have them."""


class Tolerant(BaseModel):
    """Clients send fields that only OpenAI's own service has a use for; those are left out."""

    model_config = ConfigDict(extra="ignore")


class FunctionCall(Tolerant):
    name: str = Field(max_length=256)
    arguments: str = ""


class OpenAiToolCall(Tolerant):
    id: str = Field(max_length=256)
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessage(Tolerant):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, JsonValue]] | None = None
    name: str | None = Field(None, max_length=256)
    tool_calls: list[OpenAiToolCall] | None = Field(None, max_length=MOST_TOOLS)
    tool_call_id: str | None = Field(None, max_length=256)


class FunctionSpec(Tolerant):
    name: str = Field(max_length=256)
    description: str = ""
    parameters: dict[str, Any] = {"type": "object", "properties": {}}


class OpenAiTool(Tolerant):
    type: Literal["function"]
    function: FunctionSpec


class StreamOptions(Tolerant):
    include_usage: bool = False


class ChatRequest(Tolerant):
    """A request for one answer. `model` is a route's name, or `auto` for the first that policy allows."""

    model: str = Field(min_length=1, max_length=256)
    messages: list[ChatMessage] = Field(min_length=1, max_length=MOST_MESSAGES)
    stream: bool = False
    stream_options: StreamOptions | None = None
    tools: list[OpenAiTool] | None = Field(None, max_length=MOST_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | dict[str, JsonValue] | None = None
    stop: str | list[str] | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    seed: int | None = None
    n: int | None = None
    logprobs: bool | None = None
    modalities: list[str] | None = None
    top_p: float | None = Field(None, gt=0, le=1)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    response_format: dict[str, JsonValue] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = Field(None, max_length=32)


@dataclass(frozen=True)
class RequestedAnswer:
    """A request as a route takes it. `extra`: what only an OpenAI-compatible server can do."""

    messages: list[dict[str, Any]]
    tools: tuple[OfferedTool, ...] = ()
    max_tokens: int | None = None
    temperature: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


def wanted_of(body: ChatRequest) -> RequestedAnswer:
    """Raises `Unsupported` for what this endpoint does not support."""
    if body.n not in (None, 1):
        raise Unsupported("n", "one answer at a time")
    if body.logprobs:
        raise Unsupported("logprobs", "not given here")
    if body.modalities not in (None, ["text"]):
        raise Unsupported("modalities", "text only")
    tools = () if body.tool_choice == "none" else tuple(_offered(tool) for tool in body.tools or ())
    messages = [_message(number, message) for number, message in enumerate(body.messages)]
    extra = {name: value for name in TO_BE_PASSED_ON if (value := getattr(body, name)) is not None}
    if tools and body.tool_choice not in (None, "auto"):
        extra["tool_choice"] = body.tool_choice
    _check_writable(messages, [tool.parameters for tool in tools], extra)
    return RequestedAnswer(
        messages=messages,
        tools=tools,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        temperature=body.temperature,
        seed=body.seed,
        stop=_stops(body.stop),
        extra=extra,
    )


def _check_writable(*content: Any) -> None:
    """JSON may hold lone surrogates and numbers of any length, which cannot be forwarded."""
    try:
        orjson.dumps(content)
    except orjson.JSONEncodeError:
        raise Unsupported("messages", "they hold what is no Unicode text or no plain JSON") from None


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if len(stops) > 4 or not all(0 < len(one) <= 256 for one in stops):
        raise Unsupported("stop", "up to four texts of 1 to 256 characters")
    return stops


def _offered(tool: OpenAiTool) -> OfferedTool:
    return OfferedTool(tool.function.name, tool.function.description, tool.function.parameters)


def _message(number: int, message: ChatMessage) -> dict[str, Any]:
    # Local servers do not know the newer name of the same role.
    role = "system" if message.role == "developer" else message.role
    plain = message.model_dump(exclude_none=True, exclude={"role", "content"})
    if role == "tool" and not message.tool_call_id:
        raise Unsupported(f"messages.{number}.tool_call_id", "a tool's answer names the call that it answers")
    return {"role": role, "content": _content(f"messages.{number}.content", message.content), **plain}


def _content(where: str, content: str | list[dict[str, JsonValue]] | None) -> Any:
    """One text where there is only text: not every server reads parts."""
    if not isinstance(content, list):
        return content
    texts = [part.get("text") for part in content if part.get("type") == "text"]
    if len(texts) == len(content):
        if not all(isinstance(text, str) for text in texts):
            raise Unsupported(where, "a text part has a text")
        return "\n".join(str(text) for text in texts)
    for part in content:
        _check_part(where, part)
    return content


def _check_part(where: str, part: dict[str, JsonValue]) -> None:
    if part.get("type") == "text":
        return
    image = part.get("image_url") if part.get("type") == "image_url" else None
    if not isinstance(image, dict):
        raise Unsupported(where, f"parts of type {str(part.get('type'))[:32]!r} are not taken")
    if not str(image.get("url", "")).startswith("data:image/"):
        # The model's server would fetch it, from wherever it says.
        raise Unsupported(where, "an image comes as a data: URL; nothing is fetched")


class EmbeddingRequest(Tolerant):
    """`input`: one text or many."""

    model: str = Field(min_length=1, max_length=256)
    input: JsonValue
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None


LONGEST_TEXT = 100_000
MOST_TEXTS = 2048


def texts_of(body: EmbeddingRequest) -> list[str]:
    """Raises `Unsupported`, also for token numbers: those of another model's vocabulary mean nothing here."""
    given = [body.input] if isinstance(body.input, str) else body.input
    if not isinstance(given, list) or not given:
        raise Unsupported("input", "a text, or a list of texts")
    if len(given) > MOST_TEXTS:
        raise Unsupported("input", f"at most {MOST_TEXTS} texts at once")
    if any(isinstance(one, int | list) for one in given):
        raise Unsupported("input", "token numbers are another model's; send the text itself")
    texts = [one for one in given if isinstance(one, str) and 0 < len(one) <= LONGEST_TEXT]
    if len(texts) != len(given):
        raise Unsupported("input", f"each text has 1 to {LONGEST_TEXT} characters")
    return texts
