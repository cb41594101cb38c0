"""`text_encoder` and `text_encoder_fp32`: texts in, embeddings out. They differ in `encoder.onnx` alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from triton_models.encoder import Encoder
from triton_models.plumbing import answer, hide_shared_memory, threads

THREADS = 2  # documents come in batches


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        hide_shared_memory()
        folder = Path(args["model_repository"]) / args["model_version"]
        self._encoder = Encoder(folder, threads=threads(args, THREADS))

    def execute(self, requests: list[Any]) -> list[Any]:
        return answer(requests, lambda texts: {"EMBEDDING": self._encoder.encode(texts)})
