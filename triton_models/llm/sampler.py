"""Which token comes next: the most likely one, or one drawn by chance as temperature, top-k and top-p say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

COLDEST = 1e-3
"""Below this temperature the most likely token is taken."""


@dataclass(frozen=True)
class SamplerChoice:
    """How to draw. `temperature` 0 takes the most likely; `top_k` 0 and `top_p` 1 leave nothing out."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int | None = None


class Sampler:
    """Of one answer: its own chance, so that a seed gives the same answer whoever runs beside it."""

    def __init__(self, choice: SamplerChoice) -> None:
        self._choice = choice
        self._chance = np.random.default_rng(choice.seed)

    def next(self, logits: Array, seen: set[int]) -> int:
        """`logits` [vocabulary] float32; `seen` are the tokens so far, for the penalty."""
        choice = self._choice
        if choice.repetition_penalty != 1.0 and seen:
            logits = logits.copy()
            tokens = np.fromiter(seen, np.int64)
            told = logits[tokens]
            logits[tokens] = np.where(
                told > 0, told / choice.repetition_penalty, told * choice.repetition_penalty
            )
        if choice.temperature < COLDEST:
            return int(logits.argmax())
        return self._drawn(logits / choice.temperature)

    def _drawn(self, logits: Array) -> int:
        choice = self._choice
        tokens = np.arange(len(logits))
        if 0 < choice.top_k < len(logits):
            tokens = np.argpartition(logits, -choice.top_k)[-choice.top_k :]
        order = tokens[np.argsort(-logits[tokens], kind="stable")] if choice.top_p < 1.0 else tokens
        weights = np.exp(logits[order] - logits[order].max(), dtype=np.float64)
        shares = weights / weights.sum()
        if choice.top_p < 1.0:
            kept = int(np.searchsorted(shares.cumsum(), choice.top_p)) + 1
            order, shares = order[:kept], shares[:kept] / shares[:kept].sum()
        return int(self._chance.choice(order, p=shares))
