"""`understand` with several heads over one encoder, to measure them: a column for each head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from triton_models.encoder import Encoder
from triton_models.head import load_head, ngrams
from triton_models.plumbing import answer, hide_shared_memory, threads

THREADS = 1


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        hide_shared_memory()
        folder = Path(args["model_repository"]) / args["model_version"]
        self._encoder = Encoder(folder, threads=threads(args, THREADS))
        self._heads = [load_head(path) for path in sorted(folder.glob("head*.npz"))]

    def execute(self, requests: list[Any]) -> list[Any]:
        return answer(requests, self._guess)

    def _guess(self, texts: list[str]) -> dict[str, np.ndarray[Any, Any]]:
        embeddings = self._encoder.encode(texts)
        grams = [ngrams(text) for text in texts]
        columns = [head.predict(texts, embeddings, grams) for head in self._heads]
        rows = list(zip(*columns, strict=True))
        return {
            "INTENT": np.array([[guess.intent.encode() for guess in row] for row in rows], dtype=np.object_),
            "SCORE": np.array([[guess.score for guess in row] for row in rows], dtype=np.float32),
        }
