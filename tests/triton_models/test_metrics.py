"""The figures of an evaluation, against what can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from entrypoints.cli.models import metrics
from entrypoints.cli.models.data import DataSet, draw


def test_accuracy_is_of_what_lies_inside() -> None:
    truth = ["a", "a", "b", "oos"]
    guesses = [("a", 0.9), ("b", 0.6), ("b", 0.8), ("out_of_scope", 0.7)]

    figures = metrics.classification(truth, guesses, outside="oos")

    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert figures["oos_auroc"] == 1  # 1 - 0.7 lies below all others


def test_ranks_of_equal_scores_count_half() -> None:
    assert metrics.auroc(np.array([1.0, 1.0]), np.array([True, False])) == 0.5
    assert metrics.auroc(np.array([0.0, 1.0]), np.array([True, False])) == 0
    assert metrics.auroc(np.array([0.0, 1.0]), np.array([True, True])) is None


def test_calibration_error_is_the_gap_in_each_bin() -> None:
    hits, scores = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.75, 0.75, 0.95, 0.95])

    assert metrics.calibration_error(hits, scores) == pytest.approx((0.5 + 0.1) / 4)
    assert metrics.calibration_error(hits[:0], scores[:0]) is None


def test_recall_and_mean_reciprocal_rank() -> None:
    figures = metrics.retrieval(np.array([1, 4, 10, 11]))

    assert figures["recall_at"] == {"1": 0.25, "5": 0.5, "10": 0.75}
    assert figures["mrr_at_10"] == pytest.approx((1 + 1 / 4 + 1 / 10) / 4)


def test_rank_of_the_own_document() -> None:
    documents = np.eye(3)
    queries = np.array([[1, 0, 0], [0.9, 0.5, 0], [0, 0, 0]], float)

    assert metrics.ranks(queries, documents, [0, 1, 2]).tolist() == [1, 2, 2]


def test_draws_never_train_on_what_lies_outside_or_is_tested() -> None:
    rows = tuple((f"{label}{number}", label) for label in ("a", "b", "oos") for number in range(6))
    data = DataSet(path=None, sha256="", task="classification", rows=rows)  # type: ignore[arg-type]

    runs = draw(data, None, shots=2, seeds=3, outside="oos")

    assert len({run.examples for run in runs}) == 3
    for run in runs:
        assert sorted(label for _, label in run.examples) == ["a", "a", "b", "b"]
        assert len(run.tested) == 14
        assert not {text for text, _ in run.examples} & {rows[row][0] for row in run.tested}
