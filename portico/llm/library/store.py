"""The language models of one home: a folder for each, with the files as fetched and a manifest of them.

language-models/NAME/manifest.json     where from, when, checksums, what the graph says of itself
language-models/NAME/weights/…         the files as they were fetched
language-models/NAME/config.pbtxt, 1/  written when it is loaded
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portico.errors import BadInput, Misconfigured, NotFound
from portico.settings.home import Home

MANIFEST = "manifest.json"
WEIGHTS = "1/weights"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
TAKEN = ("understand", "text_encoder", "text_encoder_fp32", "evaluated")
TAKEN_PREFIX = "eval_"


@dataclass(frozen=True)
class LanguageModel:
    """One that was fetched whole. `facts` are what the memory it needs follows from."""

    name: str
    folder: Path
    source: str
    facts: dict[str, int]
    files: dict[str, dict[str, Any]]

    @property
    def size_bytes(self) -> int:
        return sum(int(file["size"]) for file in self.files.values())


def check_name(name: str) -> str:
    """Raises `BadInput` for a name that Triton, a folder or a model of ours could not share."""
    if not NAME.fullmatch(name) or name in TAKEN or name.startswith(TAKEN_PREFIX):
        raise BadInput(
            f"{name[:80]!r} cannot name a language model: lower-case letters, digits, '.', '_' and '-', at most 64, "
            f"and none of {', '.join(TAKEN)}"
        )
    return name


def installed(home: Home) -> list[LanguageModel]:
    """Every model of this home that has a readable manifest."""
    found = []
    for path in sorted(home.language_models.glob(f"*/{MANIFEST}")):
        try:
            found.append(_read(path.parent))
        except Misconfigured:
            continue
    return found


def find(home: Home, name: str) -> LanguageModel:
    """Raises `NotFound` where it was never fetched, `Misconfigured` where it is not as it was."""
    folder = home.language_models / check_name(name)
    if not folder.is_dir():
        known = ", ".join(model.name for model in installed(home)) or "none"
        raise NotFound(f"language model {name} (here: {known})")
    model = _read(folder)
    for file, recorded in model.files.items():
        path = folder / WEIGHTS / file
        if not path.is_file() or path.stat().st_size != recorded["size"]:
            raise Misconfigured(
                f"{name}: {file} is missing or cut off; fetch it again: `portico models pull`"
            )
    return model


def _read(folder: Path) -> LanguageModel:
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return LanguageModel(
            name=folder.name,
            folder=folder,
            source=str(content["source"]),
            facts={key: int(value) for key, value in content["facts"].items()},
            files={str(name): dict(file) for name, file in content["files"].items()},
        )
    except FileNotFoundError:
        raise Misconfigured(
            f"{folder.name} has no {MANIFEST}: nobody vouches for its files; "
            f"take it in with `portico models pull {folder}`"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise Misconfigured(f"{path} is damaged; fetch the model again: `portico models pull`") from None
