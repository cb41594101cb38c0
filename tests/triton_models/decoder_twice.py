"""What the decoder writes, and what plain numpy makes of the same weights; printed as JSON.

Runs in the models' environment: `python -m tests.triton_models.decoder_twice FOLDER`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tests.triton_models.tiny_decoder import EPSILON, HEAD_SIZE, HEADS, KV_HEADS, LAYERS
from triton_models.llm.decoder import BatchRow, Decoder

Array = np.ndarray[Any, Any]
PROMPTS = [list(range(10, 60)), list(range(100, 107)), list(range(5, 250, 2))]
TOKENS = 12


class Plain:
    """The decoder without a cache, a row at a time, in float64."""

    def __init__(self, folder: Path) -> None:
        graph = onnx.load(str(folder / "model.onnx")).graph
        self._weights = {
            each.name: numpy_helper.to_array(each).astype(np.float64) for each in graph.initializer
        }

    def written(self, prompt: list[int]) -> list[int]:
        tokens = list(prompt)
        for _ in range(TOKENS):
            tokens.append(int(self._logits(tokens).argmax()))
        return tokens[len(prompt) :]

    def _logits(self, tokens: list[int]) -> Array:
        states = self._weights["embedding"][tokens]
        for layer in range(LAYERS):
            states = states + self._attended(layer, _norm(states)) @ self._weights[f"o.{layer}"]
            wide = np.maximum(_norm(states) @ self._weights[f"up.{layer}"], 0)
            states = states + wide @ self._weights[f"down.{layer}"]
        return np.asarray(_norm(states)[-1] @ self._weights["head"] + self._weights["bias"])

    def _attended(self, layer: int, states: Array) -> Array:
        query, key, value = (states @ self._weights[f"{name}.{layer}"] for name in "qkv")
        length = len(states)
        query = self._turned(query.reshape(length, HEADS, HEAD_SIZE))
        key = self._turned(key.reshape(length, KV_HEADS, HEAD_SIZE)).repeat(HEADS // KV_HEADS, axis=1)
        value = value.reshape(length, KV_HEADS, HEAD_SIZE).repeat(HEADS // KV_HEADS, axis=1)
        scores = np.einsum("qhd,khd->hqk", query, key) / np.sqrt(HEAD_SIZE)
        scores[:, np.triu(np.ones((length, length), bool), 1)] = -np.inf
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        return np.asarray(np.einsum("hqk,khd->qhd", shares, value).reshape(length, -1))

    def _turned(self, rows: Array) -> Array:
        cos, sin = (self._weights[name][: len(rows), None] for name in ("cos", "sin"))
        left, right = np.split(rows, 2, axis=-1)
        return np.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)


def _norm(states: Array) -> Array:
    return np.asarray(states / np.sqrt((states**2).mean(axis=-1, keepdims=True) + EPSILON))


def alone(decoder: Decoder, prompt: list[int], *, piece: int, row: int) -> list[int]:
    """One answer in one row, its prompt read in pieces."""
    filled = 0
    while filled < len(prompt):
        part = prompt[filled : filled + piece]
        logits = decoder.read(row, part, filled=filled)
        filled += len(part)
    tokens = [int(logits.argmax())]
    while len(tokens) < TOKENS:
        before = len(tokens) % 2 * row  # with the rows before it, or by itself
        rows = [*[BatchRow(0, 0)] * before, BatchRow(tokens[-1], filled)]
        tokens.append(int(decoder.step(rows, first=row - before)[-1].argmax()))
        filled += 1
    return tokens


def together(decoder: Decoder) -> list[list[int]]:
    """All prompts at once; each next one joins two tokens after the one before."""
    begun: list[list[int]] = []
    filled: list[int] = []
    for step in range(TOKENS + 2 * len(PROMPTS)):
        if step % 2 == 0 and len(begun) < len(PROMPTS):
            prompt = PROMPTS[len(begun)]
            logits = decoder.read(len(begun), prompt, filled=0)
            begun.append([int(logits.argmax())])
            filled.append(len(prompt))
        rows = [BatchRow(tokens[-1], size) for tokens, size in zip(begun, filled, strict=True)]
        for row, logits in enumerate(decoder.step(rows)):
            begun[row].append(int(logits.argmax()))
            filled[row] += 1
    return [tokens[:TOKENS] for tokens in begun]


def main() -> None:
    folder = Path(sys.argv[1])
    plain = Plain(folder)
    decoder = Decoder(folder, context=0, rows=3, threads=1)
    told = {
        "plain": [plain.written(prompt) for prompt in PROMPTS],
        "whole": [alone(decoder, prompt, piece=1000, row=0) for prompt in PROMPTS],
        "in_pieces": [alone(decoder, prompt, piece=7, row=2) for prompt in PROMPTS],
        "together": together(decoder),
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()
