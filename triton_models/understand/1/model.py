"""`understand`: one pass of the encoder gives the embedding, and what the text means gives the intent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from triton_models.head import load_head
from triton_models.meaning import MeaningEncoder
from triton_models.plumbing import answer, hide_shared_memory, threads

THREADS = 1  # one short text gains nothing from a second, and the worker needs the core


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        hide_shared_memory()
        folder = Path(args["model_repository"]) / args["model_version"]
        self._encoder = MeaningEncoder(folder, threads=threads(args, THREADS))
        self._head = load_head(folder / "head.npz")

    def execute(self, requests: list[Any]) -> list[Any]:
        return answer(requests, self._understand)

    def _understand(self, texts: list[str]) -> dict[str, np.ndarray[Any, Any]]:
        embeddings, meanings = self._encoder.encode(texts)
        guesses = self._head.predict(texts, meanings)
        version = self._head.version.encode()
        return {
            "EMBEDDING": embeddings,
            "INTENT": np.array([[guess.intent.encode()] for guess in guesses], dtype=np.object_),
            "SCORE": np.array([[guess.score] for guess in guesses], dtype=np.float32),
            "HEAD_VERSION": np.array([[version] for _ in guesses], dtype=np.object_),
        }
