"""What is meant: intent and language of a text, by the model that Triton serves, and the intent's action."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
from pydantic import JsonValue
from temporalio import activity

from activities.deps import Deps
from activities.language import detect_language
from portico.contracts.messages import Understanding
from portico.contracts.steps import IntentAction, UnderstandInput, Understood
from portico.errors import Unavailable


class UnderstandSteps:
    """Pure but for the model: the same text and head give the same answer."""

    def __init__(self, deps: Deps) -> None:
        self._triton = deps.understand
        self._actions = IntentActions(deps.home.models / "understand" / "intents.json")

    @activity.defn(name="understand")
    async def understand(self, given: UnderstandInput) -> Understood:
        """Raises `Unavailable` while Triton is unavailable."""
        language = detect_language(given.text)
        if not given.text.strip():
            return Understood(understanding=Understanding(language=language))
        (result,) = await self._triton.understand([given.text])
        understanding = Understanding(
            intent=result.intent, score=result.score, language=language, head_version=result.head_version
        )
        return Understood(
            understanding=understanding, action=self._actions.of(result.intent, text=given.text)
        )


class IntentActions:
    """The built intents' actions, read again when the file has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at = -1
        self._intents: dict[str, dict[str, dict[str, JsonValue]]] = {}

    def of(self, intent: str, *, text: str) -> IntentAction | None:
        """The action with its slots filled from the text; nothing for an intent without one."""
        self._refresh()
        entry = self._intents.get(intent)
        if entry is None:
            return None
        action = dict(entry["action"])
        slots = action.pop("slots", {})
        found = fill_slots(slots if isinstance(slots, dict) else {}, text)
        return IntentAction.model_validate({**action, "parameters": found})

    def _refresh(self) -> None:
        try:
            changed_at = self._path.stat().st_mtime_ns
            if changed_at != self._read_at:
                self._intents = orjson.loads(self._path.read_bytes())["intents"]
                self._read_at = changed_at
        except FileNotFoundError:
            raise Unavailable("models", "the built intents are missing") from None


def fill_slots(slots: dict[str, JsonValue], text: str) -> dict[str, JsonValue]:
    """For each slot the first group of the first of its patterns that matches; none: the slot is left out."""
    found: dict[str, JsonValue] = {}
    for name, patterns in slots.items():
        for pattern in patterns if isinstance(patterns, list) else ():
            match = re.search(str(pattern), text, re.IGNORECASE)
            if match is not None:
                found[name] = match.group(1).strip()
                break
    return found
