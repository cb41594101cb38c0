"""`understand` with several heads over one encoder, to measure them: a column for each head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from triton_models.head import load_head, ngrams
from triton_models.meaning import MeaningEncoder
from triton_models.plumbing import answer, hide_shared_memory, threads

THREADS = 1


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        hide_shared_memory()
        folder = Path(args["model_repository"]) / args["model_version"]
        self._encoder = MeaningEncoder(folder, threads=threads(args, THREADS))
        self._heads = [load_head(path) for path in sorted(folder.glob("head*.npz"))]

    def execute(self, requests: list[Any]) -> list[Any]:
        return answer(requests, self._guess)

    def _guess(self, texts: list[str]) -> dict[str, np.ndarray[Any, Any]]:
        meanings = self._encoder.meanings(texts)
        grams = [ngrams(text) for text in texts]
        columns = [head.predict(texts, meanings, grams) for head in self._heads]
        rows = list(zip(*columns, strict=True))
        return {
            "INTENT": np.array([[guess.intent.encode() for guess in row] for row in rows], dtype=np.object_),
            "SCORE": np.array([[guess.score for guess in row] for row in rows], dtype=np.float32),
        }
