"""Charts from numbers, by matplotlib without a screen. Part of `images`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from portico.tool import AskAgain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("png", "svg", "pdf")
MOST_TICKS = 40
Rows = Sequence[tuple[str, Sequence[float]]]


def draw_chart(
    format: str, kind: str, rows: Rows, labels: Sequence[str], words: tuple[str, str, str]
) -> bytes:
    """`words`: title, horizontal and vertical label. Raises `AskAgain` where the numbers do not fit."""
    if format not in FORMATS:
        raise AskAgain(f"the chart's name ends in one of {', '.join(FORMATS)}")
    _check(kind, rows, labels)
    from matplotlib.figure import Figure  # no pyplot: it would keep every figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.add_subplot()
    _draw(axes, kind, rows, labels)
    title, across, up = (_plain(text) for text in words)
    axes.set(title=title, xlabel=across, ylabel=up)
    if kind != "pie" and sum(1 for name, _ in rows if name) > 1:
        axes.legend()
    target = io.BytesIO()
    metadata = {"Date": None} if format == "svg" else {"CreationDate": None} if format == "pdf" else None
    figure.savefig(target, format=format, dpi=150, metadata=metadata)
    return target.getvalue()


def _check(kind: str, rows: Rows, labels: Sequence[str]) -> None:
    lengths = {len(values) for _, values in rows}
    if kind in ("bar", "scatter") and len(lengths) > 1:
        raise AskAgain("all series need as many values as the first")
    if kind == "scatter" and len(rows) < 2:
        raise AskAgain("scatter needs two series: x and y")
    if kind == "pie" and (len(rows) > 1 or min(rows[0][1]) < 0 or sum(rows[0][1]) <= 0):
        raise AskAgain("pie takes one series of numbers above 0")
    if labels and kind in ("bar", "line", "pie") and len(labels) != max(lengths):
        raise AskAgain(f"there are {len(labels)} labels for {max(lengths)} values")


def _draw(axes: Axes, kind: str, rows: Rows, labels: Sequence[str]) -> None:
    if kind == "pie":
        axes.pie(list(rows[0][1]), labels=[_plain(label) for label in labels] or None, autopct="%1.0f%%")
    elif kind == "histogram":
        axes.hist([list(values) for _, values in rows], label=[_plain(name) for name, _ in rows])
    elif kind == "scatter":
        for name, values in rows[1:]:
            axes.scatter(rows[0][1], values, label=_plain(name))
    elif kind == "bar":
        _bars(axes, rows)
        _ticks(axes, labels)
    else:
        for name, values in rows:
            axes.plot(range(len(values)), values, label=_plain(name), marker="o" if len(values) < 40 else "")
        _ticks(axes, labels)


def _bars(axes: Axes, rows: Rows) -> None:
    width = 0.8 / len(rows)
    for number, (name, values) in enumerate(rows):
        offset = (number - (len(rows) - 1) / 2) * width
        axes.bar([place + offset for place in range(len(values))], values, width, label=_plain(name))


def _ticks(axes: Axes, labels: Sequence[str]) -> None:
    if labels:
        step = max(1, len(labels) // MOST_TICKS)
        shown = range(0, len(labels), step)
        rotation = 45 if sum(len(labels[place]) for place in shown) > 60 else 0
        axes.set_xticks(list(shown), [_plain(labels[place]) for place in shown], rotation=rotation)


def _plain(text: str) -> str:
    """matplotlib takes what stands between dollars for a formula."""
    return text.replace("$", r"\$")
