"""Trains the intent head: multinomial logistic regression, in the space that the examples span.

How far embedding and n-grams are to be trusted is found first, for each group of texts, by leaving each example
out in turn (ridge regression gives that in closed form). At the end the scores are stretched until they say how
often the head is right about examples that it has not seen.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from triton_models.head import (
    BUCKETS,
    CHINESE,
    OTHER,
    OUT_OF_SCOPE,
    Head,
    View,
    groups_of,
    log_odds,
    ngrams,
    score_of,
    softmax,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from triton_models.head import Grams, Groups

    Floats = np.ndarray[Any, np.dtype[np.float32]]
    Labels = np.ndarray[Any, np.dtype[np.intp]]

DECAY = 5e-5
STEPS = 200
ENOUGH = 450  # held-out examples: more of them change nothing in what is read off them
LANDMARKS = 1_280  # examples whose span the weights are looked for in; with fewer it is exact
# Of the n-grams in a text's features. Some at least: they tell best what lies outside.
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
LENGTH = 1.5  # of all features, squared
USUAL_SHARE = {OTHER: 0.3, CHINESE: 0.6}
FEW = 20  # examples of a group, below which nothing is learned about it
RIDGE = 0.3
STRETCHES = (2, 4, 8, 16)  # of the answers about what was left out, before they are compared as chances
MOST_TRIED = 600  # examples for finding the shares
PRIOR = 0.1  # how much a certainty that few examples speak for is held back
THRESHOLDS = np.arange(0.20, 0.81, 0.02)
# The logits are softened by this before a score is read off them: what lies outside then stands out more.
SOFT = 0.25
_BETWEEN_WORDS = re.compile(r"[\W_]+|(?<=[a-z])(?=[A-Z])")
_WORD = re.compile(r"[^\W\d_]{3}|[\u3400-\u9fff]{2}")


@dataclass(frozen=True)
class Examples:
    """Texts, the name of the intent of each, and the meaning of each. The last `names` are names of intents."""

    texts: Sequence[str]
    intents: Sequence[str]
    embeddings: Floats
    names: int = 0


def spoken_names(intents: Iterable[str]) -> list[tuple[str, str]]:
    """What the names of the intents say, as one more example of each; nothing for a name that is only a number."""
    named = []
    for intent in sorted({*intents} - {OUT_OF_SCOPE}):
        words = _BETWEEN_WORDS.sub(" ", intent).strip()
        if _WORD.search(words) and not any(character.isdigit() for character in words):
            named.append((words, intent))
    return named


def train_head(examples: Examples) -> Head:
    """The head, with the threshold that separates best what it has not seen."""
    names = tuple(sorted(set(examples.intents)))
    number = {name: index for index, name in enumerate(names)}
    labels = np.array([number[intent] for intent in examples.intents], np.intp)
    grams = [ngrams(text) for text in examples.texts]
    groups = groups_of(examples.texts)
    view = learn_view(grams, groups, labels, examples.embeddings)
    features = feature_matrix(view, grams, groups, examples.embeddings)
    landmarks, projection = _span(features)
    span = np.asarray(features @ landmarks.T @ projection, np.float32)
    outside = number.get(OUT_OF_SCOPE)
    certainty, threshold = _calibrate(span, labels, len(names), outside, kept=examples.names)
    fitted = _fit(span, labels, len(names)) * np.float32(SOFT)
    whole = landmarks.T @ (projection @ fitted)
    weights, bias = whole[:-1].astype(np.float16).astype(np.float32), whole[-1]
    numbers = np.array([*certainty, threshold])
    parts = (weights, bias, numbers, view.centers, view.trust, view.rarity)
    version = hashlib.sha256(b"".join(map(np.ndarray.tobytes, parts)) + "\n".join(names).encode())
    return Head(version.hexdigest()[:12], names, view, weights, bias, certainty, threshold)


def learn_view(grams: Sequence[Grams], groups: Groups, labels: Labels, embeddings: Floats) -> View:
    """Rarity of the n-grams, and for each group of texts its center and what to trust in it."""
    having = np.zeros(BUCKETS, np.float32)
    for buckets, _ in grams:
        having[buckets] += 1
    rarity = (np.log((1 + len(grams)) / (1 + having)) + 1).astype(np.float32)
    centers = np.tile(embeddings.mean(axis=0), (2, 1)).astype(np.float32)
    trust = np.array([_lengths(USUAL_SHARE[group]) for group in (OTHER, CHINESE)], np.float32)
    for group in (OTHER, CHINESE):
        rows = np.flatnonzero(groups == group)
        if len(rows) < FEW:
            continue
        centers[group] = embeddings[rows].mean(axis=0)
        rows = np.random.default_rng(0).permutation(rows)[:MOST_TRIED]
        alone = View(centers, np.ones((2, 2), np.float32), rarity)
        features = feature_matrix(alone, [grams[int(row)] for row in rows], groups[rows], embeddings[rows])
        trust[group] = _lengths(_share(features, embeddings.shape[1], labels[rows]))
    return View(centers, trust, rarity)


def _lengths(share: float) -> tuple[float, float]:
    return float(np.sqrt(LENGTH * (1 - share))), float(np.sqrt(LENGTH * share))


def _share(features: Floats, width: int, labels: Labels) -> float:
    """The share of the n-grams under which examples left out are told apart best."""
    meaning = features[:, :width] @ features[:, :width].T
    letters = features[:, width:-1] @ features[:, width:-1].T
    target = np.eye(int(labels.max()) + 1, dtype=np.float32)[labels]
    rows = np.arange(len(labels))

    def mistake(share: float) -> float:
        gram = LENGTH * ((1 - share) * meaning + share * letters) + 1
        inverse = np.linalg.inv(gram + RIDGE * np.eye(len(labels), dtype=np.float32))
        left_out = np.asarray(target - inverse @ target / np.diag(inverse)[:, None], np.float32)
        return min(
            float(-np.log(softmax(stretch * left_out)[rows, labels] + 1e-9).mean()) for stretch in STRETCHES
        )

    return min(SHARES, key=mistake)


def feature_matrix(view: View, grams: Sequence[Grams], groups: Groups, embeddings: Floats) -> Floats:
    """[texts, 384 + buckets + 1], as the head sees them; the 1 at the end is the bias."""
    width = embeddings.shape[1]
    features = np.zeros((len(grams), width + BUCKETS + 1), dtype=np.float32)
    features[:, :width] = view.embeddings(groups, embeddings)
    features[:, -1] = 1
    for row, found in enumerate(grams):
        buckets, values = view.grams(groups[row], found)
        features[row, width + buckets] = values
    return features


def _span(features: Floats) -> tuple[Floats, Floats]:
    """Landmarks [landmarks, features] and what makes an orthonormal basis of their span."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(features))[:LANDMARKS])
    landmarks = features[chosen]
    sizes, directions = np.linalg.eigh((landmarks @ landmarks.T).astype(np.float64))
    kept = sizes > 1e-4 * sizes[-1]
    return landmarks, (directions[:, kept] / np.sqrt(sizes[kept])).astype(np.float32)


def _fit(span: Floats, labels: Labels, classes: int) -> Floats:
    """Weights [directions, classes], by accelerated gradient descent."""
    target = np.eye(classes, dtype=np.float32)[labels]
    # Every class counts the same in total, but for a rare one that would be blown up without limit.
    balance = np.minimum(len(labels) / (classes * np.maximum(target.sum(axis=0), 1)), 4.0)[labels][:, None]
    balance = (balance / len(labels)).astype(np.float32)
    largest = _largest_size(span)
    rate = np.float32(1.0 / (0.5 * balance.max() * largest + DECAY))
    weights: Floats = np.zeros((span.shape[1], classes), np.float32)
    previous = weights
    for step in range(STEPS):
        ahead = weights + np.float32(step / (step + 3)) * (weights - previous)
        error = balance * (softmax(span @ ahead) - target)
        previous, weights = weights, ahead - rate * (span.T @ error + np.float32(DECAY) * ahead)
    return weights


def _largest_size(span: Floats) -> float:
    """Of `span.T @ span`, by power iteration; a little too large rather than too small."""
    direction = np.ones(span.shape[1], np.float32)
    size = 1.0
    for _ in range(30):
        direction = span.T @ (span @ (direction / np.float32(size)))
        size = max(float(np.linalg.norm(direction)), 1e-9)
    return 1.05 * size


def _calibrate(
    span: Floats, labels: Labels, classes: int, outside: int | None, *, kept: int
) -> tuple[tuple[float, float], float]:
    """Certainty and threshold of the score, over examples held out in turn; the last ones `kept` never are."""
    folds = 10 if len(labels) <= 1_000 else 5  # few examples: keep most of them for the training
    fold = np.full(len(labels), -1)
    fold[: len(labels) - kept] = np.random.default_rng(0).permutation(len(labels) - kept) % folds
    logits, truth = [], []
    for held_out in range(folds):
        rest, part = fold != held_out, fold == held_out
        if part.any() and rest.any():
            logits.append(span[part] @ _fit(span[rest], labels[rest], classes))
            truth.append(labels[part])
        if sum(map(len, truth)) >= ENOUGH:
            break
    if not truth:
        return (1.0, 0.0), 0.0
    probabilities, true = softmax(np.concatenate(logits) * np.float32(SOFT)), np.concatenate(truth)
    guesses, best = probabilities.argmax(axis=1), probabilities.max(axis=1)
    certainty = _certainty(log_odds(best), guesses == true)
    # Without examples of what lies outside nothing says how sure is sure enough: the best one always counts.
    threshold = 0.0
    if outside is not None:
        threshold = _threshold(guesses, score_of(best, certainty), true, outside)
    return certainty, threshold


def _certainty(odds: Floats, hits: np.ndarray[Any, np.dtype[np.bool_]]) -> tuple[float, float]:
    """Slope and offset that turn log odds into the chance of a hit: logistic regression by Newton's method."""
    middle, spread = float(odds.mean()), max(float(odds.std()), 1e-3)
    inputs = np.stack([(odds - middle) / spread, np.ones_like(odds)], axis=1).astype(np.float64)
    found = np.array([0.0, float(log_odds(hits.mean()))])
    for _ in range(20):
        chance = 1 / (1 + np.exp(-np.clip(inputs @ found, -30, 30)))
        slope = inputs.T @ (hits - chance) - PRIOR * found
        curve = (inputs.T * (chance * (1 - chance))) @ inputs + PRIOR * np.eye(2)
        found = found + np.clip(np.linalg.solve(curve, slope), -1, 1)
    steepness = max(float(found[0]) / spread, 0.05)
    return steepness, float(found[1]) - steepness * middle


def _threshold(guesses: Labels, sure: Floats, labels: Labels, outside: int) -> float:
    """The one with the most hits inside and rejections outside."""
    inside = labels != outside
    if inside.all() or not inside.any():
        return 0.0

    def quality(threshold: float) -> float:
        kept = (sure >= threshold) & (guesses != outside)
        hits = (kept & (guesses == labels))[inside].mean()
        return float(hits + (~kept)[~inside].mean())

    return float(max(THRESHOLDS, key=quality))
