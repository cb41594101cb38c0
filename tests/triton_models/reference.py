"""The encoder once more, in plain numpy and without any of the libraries that build or run it."""

from __future__ import annotations

import json
from math import erf
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
HEADS = 12


def read_safetensors(path: Path) -> dict[str, Array]:
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            data = np.frombuffer(raw, np.float32, (end - start) // 4, 8 + size + start)
            tensors[name] = data.reshape(entry["shape"])
    return tensors


def word_pieces(tokenizer: Path, text: str) -> list[int]:
    """Greedy longest match for lower-case words between spaces."""
    vocabulary: dict[str, int] = json.loads(tokenizer.read_text())["model"]["vocab"]
    pieces = [vocabulary["[CLS]"]]
    for word in text.split():
        start = 0
        while start < len(word):
            end = len(word)
            while (piece := ("##" if start else "") + word[start:end]) not in vocabulary:
                end -= 1
            pieces.append(vocabulary[piece])
            start = end
    return [*pieces, vocabulary["[SEP]"]]


def embed(weights: dict[str, Array], pieces: list[int]) -> Array:
    """Float64 [384], of length 1."""
    hidden = (
        weights["embeddings.word_embeddings.weight"][pieces].astype(np.float64)
        + weights["embeddings.position_embeddings.weight"][: len(pieces)]
        + weights["embeddings.token_type_embeddings.weight"][0]
    )
    hidden = _norm(weights, "embeddings.LayerNorm", hidden)
    for layer in range(6):
        hidden = _layer(weights, f"encoder.layer.{layer}", hidden)
    mean = hidden.mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def _layer(weights: dict[str, Array], name: str, hidden: Array) -> Array:
    query, key, value = (
        _split(_dense(weights, f"{name}.attention.self.{part}", hidden)) for part in ("query", "key", "value")
    )
    scores = query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1])
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    context = (shares @ value).transpose(1, 0, 2).reshape(hidden.shape)
    output = f"{name}.attention.output"
    attended = _norm(weights, f"{output}.LayerNorm", hidden + _dense(weights, f"{output}.dense", context))
    wide = _dense(weights, f"{name}.intermediate.dense", attended)
    wide = wide * 0.5 * (1 + np.vectorize(erf)(wide / np.sqrt(2)))
    narrow = _dense(weights, f"{name}.output.dense", wide)
    return _norm(weights, f"{name}.output.LayerNorm", attended + narrow)


def _split(rows: Array) -> Array:
    return rows.reshape(len(rows), HEADS, -1).transpose(1, 0, 2)


def _dense(weights: dict[str, Array], name: str, rows: Array) -> Array:
    return np.asarray(rows @ weights[f"{name}.weight"].T.astype(np.float64) + weights[f"{name}.bias"])


def _norm(weights: dict[str, Array], name: str, rows: Array) -> Array:
    centered = rows - rows.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-12)
    return np.asarray(centered / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"])
