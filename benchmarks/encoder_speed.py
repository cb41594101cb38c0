"""INT8 against FP32 without Triton: `.venv-models/bin/python -m benchmarks.encoder_speed FP32.onnx INT8.onnx`.

The precisions take turns in short slices. What else a machine does only adds time, so the shortest slice of each is
what counts; the median of the ratios of neighbors stands beside. Prints JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

PIECES = 32
SIZES = (1, 16)
THREADS = (1, 2)
SLICES = 60
RUNS = {1: 8, 16: 1}


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """As `triton_models.encoder` has it."""
    from triton_models.encoder import _options

    return onnxruntime.InferenceSession(str(path), _options(threads), providers=["CPUExecutionProvider"])


def slices(run: Mapping[str, Callable[[], Any]], *, runs: int) -> dict[str, list[float]]:
    """Seconds of a run, by name, for each slice."""
    took: dict[str, list[float]] = {name: [] for name in run}
    for number in range(SLICES + 2):
        for name, once in run.items():
            began = time.perf_counter()
            for _ in range(runs):
                once()
            if number >= 2:
                took[name].append((time.perf_counter() - began) / runs)
    return took


def measure(fp32: Path, int8: Path) -> list[dict[str, Any]]:
    rows = []
    for threads in THREADS:
        sessions = {"fp32": session(fp32, threads), "int8": session(int8, threads)}
        for size in SIZES:
            ids = np.random.default_rng(0).integers(1_000, 20_000, size=(size, PIECES)).astype(np.int32)
            feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            run = {name: partial(known.run, None, feed) for name, known in sessions.items()}
            took = slices(run, runs=RUNS[size])
            ratios = np.array(took["fp32"]) / np.array(took["int8"])
            rows.append(
                {
                    "threads": threads,
                    "batch": size,
                    "fp32_ms": min(took["fp32"]) * 1000,
                    "int8_ms": min(took["int8"]) * 1000,
                    "ratio": min(took["fp32"]) / min(took["int8"]),
                    "ratio_of_neighbors": [float(np.percentile(ratios, share)) for share in (10, 50, 90)],
                }
            )
    return rows


def main() -> None:
    json.dump(measure(Path(sys.argv[1]), Path(sys.argv[2])), sys.stdout)


if __name__ == "__main__":
    main()
