"""Versions of `understand`: one numbered folder for each head, and which of them Triton serves.

Each folder is whole (encoder, head, code, what its intents do), so that going back to one needs nothing else.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from triton_models import store

KEPT = 5
FACTS = "version.json"
ACTIONS = "intents.json"
CONFIG = "config.pbtxt"


class NoVersion(Exception):
    """There is no version to go back to, or it is damaged."""


@dataclass(frozen=True)
class Version:
    """`key` names all that went in: two builds with one key are the same version."""

    number: int
    key: str
    head_version: str


def versions(model: Path) -> list[Version]:
    """The versions in a model's folder, oldest first."""
    found = []
    for path in model.glob(f"*/{FACTS}"):
        try:
            facts = json.loads(path.read_text())
            found.append(Version(int(path.parent.name), str(facts["key"]), str(facts["head_version"])))
        except (OSError, ValueError, KeyError):
            continue
    return sorted(found, key=lambda version: version.number)


def number_for(key: str, known: list[Version]) -> int:
    """The number of the version with this key, or the next free one."""
    same = [version.number for version in known if version.key == key]
    return same[0] if same else max((version.number for version in known), default=0) + 1


def carry(old: Path, fresh: Path, known: list[Version], *, without: int) -> None:
    """Links the newest of the old versions into the fresh folder."""
    others = [version for version in known if version.number != without]
    for version in others[-(KEPT - 1) :]:
        source = old / str(version.number)
        for path in sorted(path for path in source.rglob("*") if path.is_file()):
            store.place(path, fresh / path.relative_to(old))


def record(model: Path, version: Version, actions: dict[str, Any]) -> None:
    """Puts beside a version what it is and what its intents do."""
    folder = model / str(version.number)
    (folder / FACTS).write_text(json.dumps(asdict(version), indent=1))
    (folder / ACTIONS).write_text(json.dumps(actions, ensure_ascii=False, indent=1))


def serve(model: Path, config: str, version: Version, *, keep: dict[str, Any] | None = None) -> None:
    """Says that `version` is the one that Triton serves from its next load on.

    `keep`: actions of intents that the version served until then may still name.
    """
    actions = json.loads((model / str(version.number) / ACTIONS).read_text())
    told = {"version": version.head_version, "intents": {**(keep or {}), **actions}}
    policy = f"version_policy {{ specific {{ versions: [ {version.number} ] }} }}\n"
    _replace(model / CONFIG, f"{config.rstrip()}\n{policy}")
    _replace(model / ACTIONS, json.dumps(told, ensure_ascii=False, indent=1))


def actions_of(model: Path) -> dict[str, Any]:
    """What the intents of the served version do; nothing where none was built."""
    try:
        intents: dict[str, Any] = json.loads((model / ACTIONS).read_text())["intents"]
    except (OSError, ValueError, KeyError):
        return {}
    return intents


def one_of(model: Path, number: int) -> Version:
    for version in versions(model):
        if version.number == number:
            return version
    raise NoVersion(f"version {number} of the intents is not kept")


def _replace(path: Path, content: str) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(content)
    fresh.replace(path)
