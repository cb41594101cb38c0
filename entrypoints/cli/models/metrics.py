"""The figures of an evaluation, as fractions of one. Nothing where a figure makes no sense."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

BINS = 10
OUT_OF_SCOPE = "out_of_scope"
Floats = np.ndarray[Any, np.dtype[np.float64]]


def classification(
    truth: Sequence[str], guesses: Sequence[tuple[str, float]], *, outside: str
) -> dict[str, float | None]:
    """Accuracy, F1 and calibration over rows in scope; how well scores separate them from rows out of scope."""
    inside = [label != outside for label in truth]
    known = [(label, guess) for label, guess in zip(truth, guesses, strict=True) if label != outside]
    hits = np.array([label == name for label, (name, _) in known], dtype=float)
    scores = np.array([score for _, (_, score) in known])
    # What was rejected carries the probability of lying outside.
    sure = np.array([1 - score if name == OUT_OF_SCOPE else score for name, score in guesses])
    return {
        "accuracy": float(hits.mean()) if len(hits) else None,
        "macro_f1": macro_f1([label for label, _ in known], [name for _, (name, _) in known]),
        "oos_auroc": auroc(sure, np.array(inside)),
        "ece": calibration_error(hits, scores),
    }


def macro_f1(truth: Sequence[str], guessed: Sequence[str]) -> float | None:
    """The mean over the labels that occur."""
    if not truth:
        return None
    true, said = np.array(truth), np.array(guessed)
    scores = []
    for label in sorted(set(truth)):
        both = ((true == label) & (said == label)).sum()
        scores.append(2 * both / ((true == label).sum() + (said == label).sum()))
    return float(np.mean(scores))


def auroc(scores: Floats, positive: np.ndarray[Any, np.dtype[np.bool_]]) -> float | None:
    """The chance that a positive has the higher score; a tie is half a chance."""
    above, below = scores[positive], np.sort(scores[~positive])
    if not len(above) or not len(below):
        return None
    lower = np.searchsorted(below, above, side="left")
    not_higher = np.searchsorted(below, above, side="right")
    return float((lower + not_higher).sum() / 2 / (len(above) * len(below)))


def calibration_error(hits: Floats, scores: Floats) -> float | None:
    """Expected calibration error: ten bins of equal width, weighted by how many fall into each."""
    if not len(hits):
        return None
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    gaps = [abs((hits - scores)[bins == number].sum()) for number in range(BINS)]
    return float(sum(gaps) / len(hits))


def retrieval(ranks: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, Any]:
    """From the rank (1 is first) of each row's document."""
    return {
        "recall_at": {str(k): float((ranks <= k).mean()) for k in (1, 5, 10)},
        "mrr_at_10": float(np.where(ranks <= 10, 1 / ranks, 0).mean()),
    }


def ranks(queries: Floats, documents: Floats, right: Sequence[int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The place of each query's own document among all. Of equal ones it takes the middle."""
    found = np.empty(len(right), dtype=np.int64)
    for start in range(0, len(right), 256):
        part = queries[start : start + 256] @ documents.T
        wanted = np.array(right[start : start + 256])
        own = part[np.arange(len(part)), wanted][:, None]
        higher, equal = (part > own).sum(axis=1), (part == own).sum(axis=1) - 1
        found[start : start + 256] = 1 + higher + equal // 2
    return found
