"""Trains the intent head: multinomial logistic regression, in the space that the examples span.

With a thousand examples and nine thousand features, the products between examples (the Gram matrix) are all
that training needs; that takes a second and gives the same weights.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from triton_models.head import BUCKETS, OUT_OF_SCOPE, Head, ngrams, softmax

if TYPE_CHECKING:
    from collections.abc import Sequence

    Floats = np.ndarray[Any, np.dtype[np.float32]]

DECAY = 5e-5
STEPS = 600
FOLDS = 5
THRESHOLDS = np.arange(0.20, 0.71, 0.02)


@dataclass(frozen=True)
class Examples:
    """Texts, the name of the intent of each, and the embedding of each."""

    texts: Sequence[str]
    intents: Sequence[str]
    embeddings: Floats


def train_head(examples: Examples) -> Head:
    """The head, with the threshold that separates best what it has not seen."""
    names = tuple(sorted(set(examples.intents)))
    labels = np.array([names.index(intent) for intent in examples.intents])
    features = feature_matrix(examples.texts, examples.embeddings)
    gram = features @ features.T + 1  # the 1 is the bias
    # Without examples of what lies outside nothing says how sure is sure enough: the best one always counts.
    threshold = _calibrate(gram, labels, names.index(OUT_OF_SCOPE)) if OUT_OF_SCOPE in names else 0.0
    duals = _fit(gram, labels, len(names))
    weights = (features.T @ duals).astype(np.float16).astype(np.float32)
    bias = duals.sum(axis=0)
    version = hashlib.sha256(weights.tobytes() + bias.tobytes() + "\n".join(names).encode()).hexdigest()[:12]
    return Head(version=version, names=names, weights=weights, bias=bias, threshold=threshold)


def feature_matrix(texts: Sequence[str], embeddings: Floats) -> Floats:
    """[texts, 384 + buckets], as the head sees them."""
    width = embeddings.shape[1]
    features = np.zeros((len(texts), width + BUCKETS), dtype=np.float32)
    features[:, :width] = embeddings
    for row, text in enumerate(texts):
        buckets, values = ngrams(text)
        features[row, width + buckets] = values
    return features


def _fit(gram: Floats, labels: np.ndarray[Any, Any], classes: int) -> Floats:
    """One weight for each example and class, by accelerated gradient descent."""
    target = np.eye(classes, dtype=np.float32)[labels]
    # Every class counts the same in total, but for a rare one that would be blown up without limit.
    balance = np.minimum(len(labels) / (classes * target.sum(axis=0)), 4.0)[labels][:, None]
    balance = (balance / len(labels)).astype(np.float32)
    rate = np.float32(1.0 / (0.5 * balance.max() * np.linalg.norm(gram, 2) + DECAY))
    duals: Floats = np.zeros_like(target)
    previous = duals
    for step in range(STEPS):
        ahead = duals + np.float32(step / (step + 3)) * (duals - previous)
        error = balance * (softmax(gram @ ahead) - target)
        previous, duals = duals, ahead - rate * (error + np.float32(DECAY) * ahead)
    return duals


def _calibrate(gram: Floats, labels: np.ndarray[Any, Any], outside: int) -> float:
    """The threshold with the most hits inside and rejections outside, over examples held out in turn."""
    fold = np.random.default_rng(0).permutation(len(labels)) % FOLDS
    probabilities = np.zeros((len(labels), int(labels.max()) + 1), dtype=np.float32)
    for held_out in range(FOLDS):
        rest, part = fold != held_out, fold == held_out
        duals = _fit(gram[np.ix_(rest, rest)], labels[rest], probabilities.shape[1])
        probabilities[part] = softmax(gram[np.ix_(part, rest)] @ duals)
    guesses, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    inside = labels != outside

    def quality(threshold: float) -> float:
        kept = (sure >= threshold) & (guesses != outside)
        hits = (kept & (guesses == labels))[inside].mean()
        return float(hits + (~kept)[~inside].mean())

    return float(max(THRESHOLDS, key=quality))
