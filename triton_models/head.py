"""The intent head as it is served: linear over the embedding and hashed n-grams of the text, then softmax.

The encoder's vocabulary is English; the n-grams carry Chinese, where it knows little more than single
characters.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    Floats = np.ndarray[Any, np.dtype[np.float32]]
    Grams = tuple[np.ndarray[Any, np.dtype[np.intp]], Floats]

OUT_OF_SCOPE = "out_of_scope"
BUCKETS = 8_192
# By cross-validation: for Chinese the n-grams say more than the embedding.
CHINESE_LENGTH = 1.5
MAX_CHARACTERS = 400  # an intent shows in the first lines, or there is none

_LETTER = re.compile(r"[^\W_]")  # or digit: a text without one says nothing that could be an intent
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_TOKEN = re.compile(r"[\u3400-\u9fff]+|\w+|[^\w\s]")


@dataclass(frozen=True)
class Guess:
    intent: str
    score: float


@dataclass(frozen=True)
class Head:
    """`weights` [384 + buckets, intents], `bias` [intents]; below `threshold` nothing fits."""

    version: str
    names: tuple[str, ...]
    weights: Floats
    bias: Floats
    threshold: float

    def predict(
        self, texts: Sequence[str], embeddings: Floats, grams: Sequence[Grams] | None = None
    ) -> list[Guess]:
        """The intent of each text and its probability; `out_of_scope` when none is likely enough.

        `grams`: what `ngrams` gives for each text, where it is known already.
        """
        width = embeddings.shape[1]
        logits = embeddings @ self.weights[:width] + self.bias
        for row, (buckets, values) in enumerate(grams or [ngrams(text) for text in texts]):
            logits[row] += values @ self.weights[width + buckets]
        return [
            self._guess(row) if _LETTER.search(text) else Guess(OUT_OF_SCOPE, 1.0)
            for text, row in zip(texts, softmax(logits), strict=True)
        ]

    def _guess(self, probabilities: Floats) -> Guess:
        best = int(probabilities.argmax())
        if probabilities[best] >= self.threshold or self.names[best] == OUT_OF_SCOPE:
            return Guess(self.names[best], float(probabilities[best]))
        return Guess(OUT_OF_SCOPE, float(1 - probabilities[best]))

    def save(self, path: Path) -> None:
        np.savez(
            path,
            version=np.array(self.version),
            names=np.array(self.names),
            weights=self.weights.astype(np.float16),
            bias=self.bias,
            threshold=np.array(self.threshold),
        )


def load_head(path: Path) -> Head:
    with np.load(path, allow_pickle=False) as stored:
        return Head(
            version=str(stored["version"]),
            names=tuple(str(name) for name in stored["names"]),
            weights=stored["weights"].astype(np.float32),
            bias=stored["bias"],
            threshold=float(stored["threshold"]),
        )


def softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def ngrams(text: str) -> Grams:
    """Buckets of the text's n-grams and their values; of length 1, more for Chinese, 0 for no text."""
    counts: dict[int, float] = {}
    features = set(_features(text))
    for feature in features:
        code = zlib.crc32(feature.encode("utf-8", "surrogatepass"))
        bucket = code % BUCKETS
        counts[bucket] = counts.get(bucket, 0.0) + (1.0 if code & 0x80000000 else -1.0)
    values = np.fromiter(counts.values(), dtype=np.float32, count=len(counts))
    norm = float(np.sqrt((values * values).sum())) or 1.0
    length = CHINESE_LENGTH if any(_is_chinese(feature) for feature in features) else 1.0
    return np.fromiter(counts, dtype=np.intp, count=len(counts)), values * np.float32(length / norm)


def _features(text: str) -> Iterator[str]:
    """Words, word pairs, beginnings and ends of words; single characters and pairs of Chinese."""
    plain = unicodedata.normalize("NFKC", text[:MAX_CHARACTERS]).casefold().replace("’", "'")
    tokens = _TOKEN.findall(_NUMBER.sub(" 0 ", plain))
    for left, right in zip(["^", *tokens], [*tokens, "$"], strict=True):
        if not _is_chinese(left) and not _is_chinese(right):
            yield f"{left[-8:]} {right[:8]}"
    for token in tokens:
        if _is_chinese(token):
            yield from token
            framed = f"^{token}$"
            yield from (framed[start : start + 2] for start in range(len(framed) - 1))
        else:
            yield token
            if len(token) > 4:
                yield token[:4] + "-"
                yield "-" + token[-4:]


def _is_chinese(token: str) -> bool:
    return "\u3400" <= token[0] <= "\u9fff"
