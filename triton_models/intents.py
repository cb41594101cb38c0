"""Reads the intents: one YAML file each, shipped ones and the person's own, which add or override by name.

A file of theirs that is wrong is reported with its line and left out; a shipped one that is wrong is a bug
and raises.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from triton_models.head import OUT_OF_SCOPE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LANGUAGES = ("en", "zh")
MIN_EXAMPLES = 5
MAX_EXAMPLE_CHARACTERS = 400
MAX_REPLY_CHARACTERS = 4_000
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

Action = dict[str, Any]


class IntentError(ValueError):
    """What is wrong with an intent file, and in which line."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}")


@dataclass(frozen=True)
class Intent:
    name: str
    examples: tuple[str, ...]
    action: Action


def load_intents(shipped: Path, own: Path) -> tuple[dict[str, Intent], list[IntentError]]:
    """All intents by name, and what is wrong with the person's own files."""
    intents = {intent.name: intent for intent in map(read_intent, intent_files(shipped))}
    problems: list[IntentError] = []
    seen: set[str] = set()
    for path in intent_files(own):
        try:
            intent = read_intent(path)
            if intent.name in seen:
                raise IntentError(
                    path, 1, f'another file in this folder has the name "{intent.name}" already'
                )
        except IntentError as error:
            problems.append(error)
            continue
        seen.add(intent.name)
        intents[intent.name] = intent
    return dict(sorted(intents.items())), problems


def intent_files(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])


def read_intent(path: Path) -> Intent:
    """Raises `IntentError` with the line of what is wrong."""
    root = _Node(path, _compose(path))
    fields = root.mapping(required=("name", "examples", "action"))
    name = fields["name"].string(limit=40)
    if not _NAME.fullmatch(name) or name == OUT_OF_SCOPE:
        raise fields["name"].wrong(
            f'"{name}" cannot be a name: use small letters, digits and _, and not "{OUT_OF_SCOPE}"'
        )
    examples = _examples(fields["examples"])
    if len(examples) < MIN_EXAMPLES:
        raise fields["examples"].wrong(
            f"an intent needs at least {MIN_EXAMPLES} examples, here are {len(examples)}"
        )
    return Intent(name, examples, _action(fields["action"]))


def read_out_of_scope(path: Path) -> tuple[str, ...]:
    return _examples(_Node(path, _compose(path)).mapping(required=("examples",))["examples"])


def _compose(path: Path) -> yaml.Node:
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError:
        raise IntentError(path, 1, "not UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise IntentError(path, line, f"not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise IntentError(path, 1, f"not YAML: {str(error).splitlines()[0]}") from None
    if node is None:
        raise IntentError(path, 1, "the file is empty")
    return node


def _examples(node: _Node) -> tuple[str, ...]:
    by_language = node.mapping(optional=LANGUAGES)
    listed = [
        item.string(limit=MAX_EXAMPLE_CHARACTERS) for part in by_language.values() for item in part.items()
    ]
    return tuple(dict.fromkeys(listed))


def _action(node: _Node) -> Action:
    fields = node.mapping(optional=("reply", "tool", "slots", "ask_model"))
    kinds = [kind for kind in ("reply", "tool", "ask_model") if kind in fields]
    if len(kinds) != 1:
        raise node.wrong("an action is exactly one of reply, tool, ask_model")
    if "slots" in fields and kinds != ["tool"]:
        raise fields["slots"].wrong("slots belong to a tool")
    if kinds == ["reply"]:
        return {"reply": _reply(fields["reply"])}
    if kinds == ["ask_model"]:
        return {"ask_model": fields["ask_model"].true()}
    slots = fields["slots"].mapping(any_key=True) if "slots" in fields else {}
    return {
        "tool": fields["tool"].string(limit=100),
        "slots": {name: [item.pattern() for item in slot.items()] for name, slot in slots.items()},
    }


def _reply(node: _Node) -> dict[str, str]:
    texts = node.mapping(optional=LANGUAGES)
    if not texts:
        raise node.wrong("a reply needs a text in en or zh")
    return {language: text.string(limit=MAX_REPLY_CHARACTERS) for language, text in texts.items()}


class _Node:
    """A YAML node that knows where it stands, read as what it has to be."""

    def __init__(self, path: Path, node: yaml.Node) -> None:
        self._path = path
        self._node = node

    def wrong(self, message: str) -> IntentError:
        return IntentError(self._path, self._node.start_mark.line + 1, message)

    def mapping(
        self, *, required: Iterable[str] = (), optional: Iterable[str] = (), any_key: bool = False
    ) -> dict[str, _Node]:
        if not isinstance(self._node, yaml.MappingNode):
            raise self.wrong("expected a mapping (key: value)")
        fields: dict[str, _Node] = {}
        for key_node, value_node in self._node.value:
            key = _Node(self._path, key_node)
            name = key.string(limit=100)
            if not any_key and name not in {*required, *optional}:
                raise key.wrong(f'unknown key "{name}"; known here: {", ".join([*required, *optional])}')
            if name in fields:
                raise key.wrong(f'"{name}" stands here twice')
            fields[name] = _Node(self._path, value_node)
        for name in required:
            if name not in fields:
                raise self.wrong(f'"{name}" is missing')
        return fields

    def items(self) -> list[_Node]:
        if not isinstance(self._node, yaml.SequenceNode):
            raise self.wrong("expected a list (- item)")
        return [_Node(self._path, item) for item in self._node.value]

    def string(self, *, limit: int) -> str:
        if not isinstance(self._node, yaml.ScalarNode):
            raise self.wrong("expected a text")
        text = str(self._node.value).strip()
        if not text or len(text) > limit:
            raise self.wrong(f"expected a text of 1 to {limit} characters, here are {len(text)}")
        return text

    def pattern(self) -> str:
        text = self.string(limit=1_000)
        try:
            compiled = re.compile(text)
        except re.error as error:
            raise self.wrong(f"not a regular expression: {error}") from None
        if not compiled.groups:
            raise self.wrong("the regular expression needs a group (…) around the slot's value")
        return text

    def true(self) -> bool:
        if not isinstance(self._node, yaml.ScalarNode) or str(self._node.value).lower() != "true":
            raise self.wrong("expected true")
        return True
