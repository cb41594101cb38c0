"""From chat messages to the prompt: the model's own template, in a sandbox, cut to what its context holds."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

Message = dict[str, Any]
RULES = ("system", "developer")
LEAST_ANSWER = 64
"""Tokens that stay free for the answer, or a quarter of a small context."""


class BadRequest(Exception):
    """The request cannot be answered as it is."""


class ChatTemplate:
    """A chat template as tokenizers carry it."""

    def __init__(self, source: str, words: Mapping[str, str]) -> None:
        """Raises `BadRequest` where it is no template."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = _now
        self._words = dict(words)
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise BadRequest(f"the chat template is broken: {_short(error)}") from None

    def prompt(self, messages: Sequence[Message], tools: Sequence[Any]) -> str:
        try:
            return self._template.render(
                messages=messages, tools=list(tools) or None, add_generation_prompt=True, **self._words
            )
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
            raise BadRequest(f"the chat template refuses these messages: {_short(error)}") from None


class Prompts:
    """Makes the tokens of a prompt."""

    def __init__(
        self, template: ChatTemplate, tokenizer: Any, *, context: int, special: Sequence[str] = ()
    ) -> None:
        """`special` are the words of control, which only the template may write."""
        self._template = template
        self._special = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or "(?!)")
        self._tokenizer = tokenizer
        self._context = context
        self._least = min(LEAST_ANSWER, context // 4)

    def tokens(self, messages: Sequence[Message], tools: Sequence[Any]) -> tuple[list[int], int]:
        """The prompt, and how many of the oldest messages had to be left out of it.

        Raises `BadRequest` when the rules and the newest message alone do not fit.
        """
        ready = [self._plain(_as_templates_expect(message)) for message in messages]
        tools = self._plain(list(tools))
        tokens = self._encode(self._template.prompt(ready, tools))
        if len(tokens) <= self._context - self._least:
            return tokens, 0
        shorter = _shorter(ready)
        fits: tuple[list[int], int] | None = None
        low, high = 0, len(shorter)
        while low < high:  # the fewest that have to go; a template takes time
            middle = (low + high) // 2
            tokens = self._encode(self._template.prompt(shorter[middle], tools))
            if len(tokens) <= self._context - self._least:
                fits, high = (tokens, len(ready) - len(shorter[middle])), middle
            else:
                low = middle + 1
        if fits is None:
            raise BadRequest(
                f"the message is too long: {len(tokens)} tokens with the rules, and the model holds "
                f"{self._context} with its answer"
            )
        return fits

    def _plain(self, value: Any) -> Any:
        """Who writes `<|im_start|>system` in a message has written these letters, and begun no rules."""
        if isinstance(value, str):
            return self._special.sub(lambda found: f"{found[0][0]}\u200b{found[0][1:]}", value)
        if isinstance(value, list):
            return [self._plain(each) for each in value]
        if isinstance(value, dict):
            return {self._plain(key): self._plain(each) for key, each in value.items()}
        return value

    def _encode(self, prompt: str) -> list[int]:
        try:
            ids: list[int] = self._tokenizer.encode(prompt, add_special_tokens=False).ids
        except (UnicodeError, TypeError):
            raise BadRequest("the messages hold characters that are no Unicode text") from None
        if not ids:
            raise BadRequest("the prompt is empty")
        return ids


def _shorter(messages: list[Message]) -> list[list[Message]]:
    """The messages with ever fewer of the oldest: rules stay, and a dialogue begins with the person."""
    rules = [message for message in messages if message["role"] in RULES]
    dialogue = [message for message in messages if message["role"] not in RULES]
    starts = [at for at, message in enumerate(dialogue) if at and message["role"] == "user"]
    return [[*rules, *dialogue[at:]] for at in starts]


def _as_templates_expect(message: Message) -> Message:
    """Arguments of calls as objects, no content as an empty text, parts of a text as one."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    calls = [_call(call) for call in message.get("tool_calls") or []]
    return {**message, "content": content or "", **({"tool_calls": calls} if calls else {})}


def _call(call: Any) -> Any:
    function = dict(call.get("function") or {}) if isinstance(call, dict) else {}
    if isinstance(arguments := function.get("arguments"), str):
        try:
            function["arguments"] = json.loads(arguments)
        except ValueError:
            function["arguments"] = {}
    return {**call, "function": function} if isinstance(call, dict) else call


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise(message: str) -> None:
    raise TemplateError(message)


def _now(pattern: str) -> str:
    return datetime.datetime.now().astimezone().strftime(pattern)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
