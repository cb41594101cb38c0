"""From tokens to text, piece by piece: half characters and what may become a stop string are held back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

HALF = "\ufffd"
LONGEST_HALF = 8
"""Tokens that make no character together after so many are no half of one."""


class GrowingText:
    """The text of one answer. `stopped` is the stop string that ended it."""

    def __init__(self, tokenizer: Any, stops: Sequence[str]) -> None:
        self.stopped = ""
        self._tokenizer = tokenizer
        self._stops = tuple(stops)
        self._tokens: list[int] = []
        self._shown = 0  # tokens whose text is out
        self._before = 0  # where decoding begins: a tokenizer may need the tokens before for a space
        self._held = ""

    def add(self, token: int) -> str:
        """What of the text may be shown now."""
        self._tokens.append(token)
        return self._release(self._fresh(final=False), final=False)

    def rest(self) -> str:
        """What is left at the end."""
        return "" if self.stopped else self._release(self._fresh(final=True), final=True)

    def _fresh(self, *, final: bool) -> str:
        known = self._decode(self._tokens[self._before : self._shown])
        whole = self._decode(self._tokens[self._before :])
        waiting = len(self._tokens) - self._shown
        if whole.endswith(HALF) and waiting <= LONGEST_HALF and not final:
            return ""
        self._before, self._shown = self._shown, len(self._tokens)
        return whole[len(known) :]

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True)) if tokens else ""

    def _release(self, fresh: str, *, final: bool) -> str:
        text, self._held = self._held + fresh, ""
        found = [(at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            at, self.stopped = min(found)
            return text[:at]
        if final:
            return text
        held = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` begin `stop`."""
    return next(
        (size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0
    )
