"""The intent head as it is served: linear over the embedding and hashed n-grams of the text, then softmax.

The encoder's vocabulary is English; the n-grams carry Chinese, where it knows little more than single
characters. So the head holds for each of the two how much it trusts the embedding and how much the n-grams, and
the point around which the embeddings of its examples lie (the encoder puts all Chinese into one corner).
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
    Groups = np.ndarray[Any, np.dtype[np.intp]]
    Grams = tuple[np.ndarray[Any, np.dtype[np.intp]], Floats]

OUT_OF_SCOPE = "out_of_scope"
BUCKETS = 8_192
OTHER, CHINESE = 0, 1  # the groups of texts
MAX_CHARACTERS = 400  # an intent shows in the first lines, or there is none

_LETTER = re.compile(r"[^\W_]")  # or digit: a text without one says nothing that could be an intent
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_CHINESE = re.compile(r"[\u3400-\u9fff]")
_TOKEN = re.compile(r"[\u3400-\u9fff]+|\w+|[^\w\s]")


@dataclass(frozen=True)
class Guess:
    intent: str
    score: float


@dataclass(frozen=True)
class View:
    """How texts are turned into features, learned from the examples.

    `centers` [groups, 384]; `trust` [groups, 2]: lengths of embedding and n-grams; `rarity` [buckets]: the weight
    of each n-gram, less for one that many examples have.
    """

    centers: Floats
    trust: Floats
    rarity: Floats

    def embeddings(self, groups: Groups, embeddings: Floats) -> Floats:
        moved = embeddings - self.centers[groups]
        lengths = np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-6)
        return moved / lengths * self.trust[groups, 0][:, None]  # type: ignore[no-any-return]

    def grams(self, group: int, grams: Grams) -> Grams:
        buckets, values = grams
        weighted = values * self.rarity[buckets]
        length = float(np.sqrt((weighted * weighted).sum())) or 1.0
        return buckets, weighted * np.float32(self.trust[group, 1] / length)


@dataclass(frozen=True)
class Head:
    """`weights` [384 + buckets, intents], `bias` [intents]; below the score `threshold` nothing fits.

    `certainty`: slope and offset that make a score of the log odds of the likeliest intent.
    """

    version: str
    names: tuple[str, ...]
    view: View
    weights: Floats
    bias: Floats
    certainty: tuple[float, float]
    threshold: float

    def predict(
        self, texts: Sequence[str], embeddings: Floats, grams: Sequence[Grams] | None = None
    ) -> list[Guess]:
        """The intent of each text and its probability; `out_of_scope` when none is likely enough.

        `grams`: what `ngrams` gives for each text, where it is known already.
        """
        width = embeddings.shape[1]
        groups = groups_of(texts)
        logits = self.view.embeddings(groups, embeddings) @ self.weights[:width] + self.bias
        for row, found in enumerate(grams or [ngrams(text) for text in texts]):
            buckets, values = self.view.grams(groups[row], found)
            logits[row] += values @ self.weights[width + buckets]
        return [
            self._guess(row) if _LETTER.search(text) else Guess(OUT_OF_SCOPE, 1.0)
            for text, row in zip(texts, softmax(logits), strict=True)
        ]

    def _guess(self, probabilities: Floats) -> Guess:
        best = int(probabilities.argmax())
        score = float(score_of(probabilities[best], self.certainty))
        if score >= self.threshold or self.names[best] == OUT_OF_SCOPE:
            return Guess(self.names[best], score)
        return Guess(OUT_OF_SCOPE, 1 - score)

    def save(self, path: Path) -> None:
        np.savez(
            path,
            version=np.array(self.version),
            names=np.array(self.names),
            weights=self.weights.astype(np.float16),
            bias=self.bias,
            centers=self.view.centers,
            trust=self.view.trust,
            rarity=self.view.rarity,
            certainty=np.array(self.certainty),
            threshold=np.array(self.threshold),
        )


def load_head(path: Path) -> Head:
    with np.load(path, allow_pickle=False) as stored:
        return Head(
            version=str(stored["version"]),
            names=tuple(str(name) for name in stored["names"]),
            view=View(stored["centers"], stored["trust"], stored["rarity"]),
            weights=stored["weights"].astype(np.float32),
            bias=stored["bias"],
            certainty=(float(stored["certainty"][0]), float(stored["certainty"][1])),
            threshold=float(stored["threshold"]),
        )


def softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def log_odds(probabilities: Any) -> Any:
    """Of one probability, or of an array of them."""
    kept = np.clip(probabilities, 1e-7, 1 - 1e-7)
    return np.log(kept / (1 - kept))


def score_of(probabilities: Any, certainty: tuple[float, float]) -> Any:
    """How often the head is right when its best intent has this probability."""
    return 1 / (1 + np.exp(-np.clip(certainty[0] * log_odds(probabilities) + certainty[1], -30, 30)))


def groups_of(texts: Sequence[str]) -> Groups:
    """`CHINESE` for each text with Chinese in it."""
    return np.array([CHINESE if _CHINESE.search(text[:MAX_CHARACTERS]) else OTHER for text in texts], np.intp)


def ngrams(text: str) -> Grams:
    """Buckets of the text's n-grams and their values, of length 1."""
    counts: dict[int, float] = {}
    for feature in set(_features(text)):
        code = zlib.crc32(feature.encode("utf-8", "surrogatepass"))
        bucket = code % BUCKETS
        counts[bucket] = counts.get(bucket, 0.0) + (1.0 if code & 0x80000000 else -1.0)
    values = np.fromiter(counts.values(), dtype=np.float32, count=len(counts))
    norm = float(np.sqrt((values * values).sum())) or 1.0
    return np.fromiter(counts, dtype=np.intp, count=len(counts)), values * np.float32(1 / norm)


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
