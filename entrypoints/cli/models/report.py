"""How an evaluation is shown: a table, or a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from entrypoints.cli.output import print_table
from portico.errors import BadInput, Misconfigured

ROWS = (
    ("accuracy", ("accuracy",), "{:.1%}"),
    ("  lowest of the seeds", ("accuracy_min",), "{:.1%}"),
    ("  highest of the seeds", ("accuracy_max",), "{:.1%}"),
    ("macro F1", ("macro_f1",), "{:.3f}"),
    ("out of scope, AUROC", ("oos_auroc",), "{:.3f}"),
    ("calibration error", ("ece",), "{:.1%}"),
    ("recall at 1", ("recall_at", "1"), "{:.1%}"),
    ("recall at 5", ("recall_at", "5"), "{:.1%}"),
    ("recall at 10", ("recall_at", "10"), "{:.1%}"),
    ("MRR at 10", ("mrr_at_10",), "{:.3f}"),
    ("one text, p50 (ms)", ("latency_ms", "p50"), "{:.2f}"),
    ("one text, p99 (ms)", ("latency_ms", "p99"), "{:.2f}"),
    ("texts/s, one by one", ("texts_per_s", "batch_1"), "{:.0f}"),
    ("texts/s, batches of 16", ("texts_per_s", "batch_16"), "{:.0f}"),
    ("file (MB)", ("file_bytes",), "{:.1f}"),
)
COMPARED = {
    "accuracy": ("accuracy_points", "{:+.2f} points"),
    "texts/s, one by one": ("texts_per_s_batch_1", "{:.2f} ×"),
    "texts/s, batches of 16": ("texts_per_s_batch_16", "{:.2f} ×"),
    "file (MB)": ("file_bytes", "{:.3f} ×"),
}


def show(report: dict[str, Any]) -> None:
    """Only the rows that apply."""
    precisions = report["precisions"]
    rows = [("", "FP32", "INT8", "INT8 against FP32")]
    for title, path, form in ROWS:
        values = [_value(precisions[precision], path) for precision in ("fp32", "int8")]
        if values[0] is None or values[1] is None:
            continue
        compared, ratio_form = COMPARED.get(title, ("", ""))
        ratio = report["int8_vs_fp32"].get(compared)
        fp32, int8 = (form.format(value / 1e6 if path == ("file_bytes",) else value) for value in values)
        rows.append((title, fp32, int8, "" if ratio is None else ratio_form.format(ratio)))
    print_table(rows, empty="")


def _value(figures: dict[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = figures
    for key in path:
        value = None if value is None else value[key]
    return value


def draw(report: dict[str, Any], path: Path) -> None:
    """Quality and speed of both precisions, side by side."""
    try:
        import matplotlib
    except ImportError:
        raise Misconfigured("a picture needs matplotlib; run `make setup`") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    quality = [row for row in ROWS[:10] if _value(report["precisions"]["fp32"], row[1]) is not None]
    speed = [row for row in ROWS if row[1][0] == "texts_per_s"]
    figure, axes = pyplot.subplots(1, 2, figsize=(12, 4.5), width_ratios=(3, 2))
    for axis, rows in zip(axes, (quality, speed), strict=True):
        for shift, (precision, color) in enumerate((("fp32", "#8a8f98"), ("int8", "#2f7d5b"))):
            values = [_value(report["precisions"][precision], row[1]) or 0 for row in rows]
            places = [place + (shift - 0.5) * 0.38 for place in range(len(rows))]
            bars = axis.barh(places, values, height=0.36, color=color, label=precision.upper())
            axis.bar_label(bars, [row[2].format(value) for row, value in zip(rows, values, strict=True)])
        axis.set_yticks(range(len(rows)), [row[0].strip() for row in rows])
        axis.invert_yaxis()
        axis.margins(x=0.15)
    axes[0].set_title(f"{report['data']['path']}: {report['data']['rows']} rows")
    axes[1].set_title(report["machine"]["cpu"], fontsize=9)
    axes[1].legend(loc="lower right")
    figure.tight_layout()
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise BadInput(f"the picture cannot be written to {path}: {error}") from None
    finally:
        pyplot.close(figure)
