"""What was recorded of a model when it was fetched: a file is served only as it was then."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from triton_models.llm.folder import NotAModel, inside

MANIFEST = "manifest.json"
WEIGHTS = "1/weights"


def verify(model: Path) -> Path:
    """The folder of the model's files, each with its recorded size and SHA-256. Raises `NotAModel`."""
    try:
        files = json.loads((model / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        raise NotAModel(f"{model.name} has no readable {MANIFEST}: pull it again") from None
    weights = model / WEIGHTS
    found = {str(path.relative_to(weights)) for path in weights.rglob("*") if not path.is_dir()}
    if strange := sorted(found - set(files)):
        raise NotAModel(f"{model.name}: {strange[0]} is not in its {MANIFEST}")
    for name, recorded in files.items():
        _verify(weights, name, recorded["sha256"])
    return weights


def _verify(weights: Path, name: str, expected: str) -> None:
    path = weights / name
    if not inside(name) or path.is_symlink() or not path.is_file():
        raise NotAModel(f"{name} is missing, or is no file of the model")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != expected:
            raise NotAModel(f"{name} is not what was fetched (its checksum differs): pull the model again")
