"""Tool calls that a model writes into its text, as `<tool_call>{"name": …, "arguments": {…}}</tool_call>`."""

from __future__ import annotations

import json
import re
import uuid

from portico.llm.types import ModelCall

OPEN = "<tool_call>"
CLOSE = "</tool_call>"
_NAME = re.compile(r'"name"\s*:\s*"([^"\\]{1,200})"')


class CallsInText:
    """Takes pieces of a text, gives the pieces that stand outside of calls."""

    def __init__(self) -> None:
        self._held = ""
        self._blocks: list[str] = []
        self._inside = False

    def feed(self, text: str) -> str:
        """What can be shown. Holds back what may still turn out to be a call."""
        self._held += text
        shown = ""
        while True:
            mark = CLOSE if self._inside else OPEN
            before, found, after = self._held.partition(mark)
            if not found:
                break
            if self._inside:
                self._blocks.append(before)
            else:
                shown += before
            self._held, self._inside = after, not self._inside
        if self._inside:
            return shown
        kept = _begun(self._held)
        shown += self._held[: len(self._held) - kept]
        self._held = self._held[len(self._held) - kept :]
        return "" if self._blocks and not shown.strip() else shown

    def rest(self) -> str:
        """At the end: what was held back and is no call. A call that was broken off counts as one."""
        held, self._held = self._held, ""
        if self._inside:
            self._blocks.append(held)
            return ""
        return held

    def calls(self) -> tuple[ModelCall, ...]:
        """The calls; one that is not JSON keeps its text as arguments, so that the model gets an error."""
        return tuple(_call(block.strip()) for block in self._blocks)


def _begun(text: str) -> int:
    """How many characters at the end of `text` begin the opening mark."""
    return next((size for size in range(len(OPEN) - 1, 0, -1) if text.endswith(OPEN[:size])), 0)


def _call(block: str) -> ModelCall:
    number = f"call_{uuid.uuid4().hex[:16]}"
    try:
        told = json.loads(block)
    except ValueError:
        told = None
    if not isinstance(told, dict) or not isinstance(told.get("name"), str):
        named = _NAME.search(block)
        return ModelCall(number, named[1] if named else "", block)
    arguments = told.get("arguments", {})
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return ModelCall(number, told["name"], written)
