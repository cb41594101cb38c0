"""Some servers send a model's thinking within its answer, as `<think>…</think>`; people see the rest."""

from __future__ import annotations

OPEN = "<think>"
CLOSE = "</think>"


class AnswerOnly:
    """Takes pieces of a text, gives the pieces after a leading `<think>…</think>`."""

    def __init__(self) -> None:
        self._held = ""
        self._state = "start"

    def feed(self, text: str) -> str:
        """What can be shown so far. Holds back what may still turn out to be thinking."""
        if self._state == "open":
            return text
        self._held += text
        if self._state == "start":
            self._look_at_start()
        if self._state == "thinking":
            self._look_for_end()
        if self._state == "after" and (shown := self._held.lstrip()):
            self._state, self._held = "open", ""
            return shown
        if self._state == "open":
            shown, self._held = self._held, ""
            return shown
        return ""

    def rest(self) -> str:
        """At the end of the text: what was held back and is no thinking."""
        held, self._held = self._held, ""
        return held if self._state == "start" else ""

    def _look_at_start(self) -> None:
        begun = self._held.lstrip()
        if begun.startswith(OPEN):
            self._state, self._held = "thinking", begun.removeprefix(OPEN)
        elif not OPEN.startswith(begun):
            self._state = "open"

    def _look_for_end(self) -> None:
        _, found, after = self._held.partition(CLOSE)
        if found:
            self._state, self._held = "after", after
        else:
            # Only the end can still grow into the closing mark; a long thought is not kept.
            self._held = self._held[-len(CLOSE) :]
