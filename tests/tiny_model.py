"""Small random language models, written by the models' own environment, and answers of them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from operations.embedded.context import MODELS_ENVIRONMENT
from portico.llm.triton import TritonAnswer, TritonModels
from portico.llm.types import Delta
from portico.settings.models import RouteSettings
from tests.support import CHECKOUT

PYTHON = MODELS_ENVIRONMENT / "bin" / "python"
WRITER = "tests.triton_models.tiny_decoder"


def write_tiny_model(folder: Path, *options: str) -> Path:
    run_with_models(WRITER, folder, *options)
    return folder


def run_with_models(module: str, *arguments: object) -> str:
    """A module of the tests, run where the models run; what it prints."""
    command = [str(PYTHON), "-m", module, *map(str, arguments)]
    return subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=60
    ).stdout


@dataclass
class Answered:
    """A whole answer, and when its pieces came."""

    text: str = ""
    last: Delta = field(default_factory=Delta)
    end: dict[str, Any] = field(default_factory=dict)
    pieces: int = 0
    began: float = 0.0
    ended: float = 0.0


async def ask(
    models: TritonModels, model: str, text: str | Sequence[dict[str, Any]], **options: Any
) -> Answered:
    """A question to a model, or a dialogue."""
    messages = [{"role": "user", "content": text}] if isinstance(text, str) else text
    answer = TritonAnswer(model, RouteSettings(kind="triton", model=model), models)
    told = Answered()
    try:
        async with aclosing(answer.deltas(messages, **options)) as deltas:
            async for delta in deltas:
                told.began = told.began or time.monotonic()
                told.text += delta.text
                told.pieces += bool(delta.text)
                told.last = delta
    finally:
        await answer.hang_up()
    told.end = answer.told
    told.ended = time.monotonic()
    return told
