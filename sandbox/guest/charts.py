"""What a figure shows, as the numbers and words that it was drawn from. Runs inside the sandbox only.

E2B's own package reads figures; box plots are read here, because it takes those of matplotlib's own style for lines
and stumbles over a single one.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import Any

Points = list[tuple[float, float]]


def as_chart(figure: Any) -> dict[str, Any] | None:
    """None if the figure has no numeric form."""
    from e2b_charts.main import chart_figure_to_dict, get_chart_from_ax  # type: ignore[import-not-found]

    try:
        with warnings.catch_warnings(action="ignore"):  # it complains of numbers that are numpy's
            boxed = [_boxes(axes) for axes in figure.axes]
            if not any(boxed):
                chart = chart_figure_to_dict(figure)
                return chart and plain(chart)  # type: ignore[no-any-return]
            each = [
                _box_chart(axes, boxes) if boxes else get_chart_from_ax(axes).model_dump()
                for axes, boxes in zip(figure.axes, boxed, strict=True)
            ]
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None  # an unknown kind of figure is still shown as a picture
    if len(each) == 1:
        return plain(each[0])  # type: ignore[no-any-return]
    return plain({"type": "superchart", "title": figure.get_suptitle(), "elements": each})  # type: ignore[no-any-return]


def plain(value: Any) -> Any:
    """The same in what JSON has: numpy's numbers as numbers, what is no number as null."""
    text = json.dumps(value, default=lambda it: it.item() if hasattr(it, "item") else str(it))
    return json.loads(text, parse_constant=lambda _: None)


def _box_chart(axes: Any, boxes: list[dict[str, Any]]) -> dict[str, Any]:
    named = {"title": axes.get_title() or None}
    named |= {f"{way}_label": getattr(axes, f"get_{way}label")() or None for way in "xy"}
    return {"type": "box_and_whisker", **named, "x_unit": None, "y_unit": None, "elements": boxes}


def _boxes(axes: Any) -> list[dict[str, Any]]:
    """Each box with the lines that matplotlib draws after it. Nothing where anything else is drawn."""
    groups: list[tuple[Points, list[Points]]] = []
    for artist in axes.get_children():
        kind = type(artist).__name__
        if kind not in ("PathPatch", "Line2D"):
            continue
        points = _points(artist)
        if len(points) >= 5 and points[0] == points[4] and len({x for x, _ in points}) == 2:
            groups.append((points, []))
        elif kind == "PathPatch" or not groups:
            return []
        else:
            groups[-1][1].append(points)
    return [_box(axes, box, lines) for box, lines in groups]


def _points(artist: Any) -> Points:
    points = artist.get_path().vertices if hasattr(artist, "get_path") else artist.get_xydata()
    return [(float(x), float(y)) for x, y in points]


def _box(axes: Any, box: Points, lines: Sequence[Points]) -> dict[str, Any]:
    across, along = [x for x, _ in box], [y for _, y in box]
    upright = any(len(line) == 2 and {x for x, _ in line} == set(across) for line in lines)
    if not upright:
        across, along = along, across
        lines = [[(y, x) for x, y in line] for line in lines]
    low, high, middle = min(along), max(along), sum(set(across)) / 2
    pairs = [line for line in lines if len(line) == 2]
    whiskers = [y for (x, y), (other, z) in pairs if x == other for y in (y, z)]
    (median,) = {
        y for (x, y), (other, z) in pairs if y == z and {x, other} == set(across) and low <= y <= high
    }
    fliers = [y for line in lines if line not in pairs for _, y in line]
    axis = axes.xaxis if upright else axes.yaxis
    labels = {
        tick: text.get_text() for tick, text in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=False)
    }
    return {
        "label": labels.get(middle, f"{middle:g}"),
        "min": min([low, *whiskers]),
        "first_quartile": low,
        "median": median,
        "third_quartile": high,
        "max": max([high, *whiskers]),
        "outliers": fliers,
    }
