"""The picture beside the table: each figure as a share of what is asked, and an ageing conversation."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks.figures import Figures


def draw(figures: Figures, curve: list[float], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shares = []
    for target, readings in figures.rows():
        if not readings:
            continue
        median = statistics.median(readings)
        if target.at_most:
            shares.append((target.title, median / target.at_most))
        elif target.at_least:
            shares.append((target.title, target.at_least / median))
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(14, 5), width_ratios=(3, 2))
    names, values = zip(*reversed(shares), strict=True)
    colors = ["#2f7d5b" if value <= 1 else "#b4472e" for value in values]
    left.barh(names, values, color=colors)
    left.axvline(1, color="#333333", linewidth=1)
    left.set_xlabel("share of the target (left of the line: met)")
    if curve:
        step = max(1, len(curve) // 100)
        middles = [
            statistics.median(curve[start : start + step]) * 1000 for start in range(0, len(curve), step)
        ]
        right.plot([start * step for start in range(len(middles))], middles, color="#2b5c8a")
        right.set_ylim(bottom=0)
        right.set_xlabel("turn of one conversation")
        right.set_ylabel("ms (median of windows)")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
