"""`portico models eval`: a data set through the served models, FP32 and INT8 side by side."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from entrypoints.cli.models import measure, report
from entrypoints.cli.models.data import DataSet, Run, draw, read_data
from entrypoints.cli.models.metrics import OUT_OF_SCOPE
from entrypoints.cli.models.server import in_models_environment, running_triton
from entrypoints.cli.output import print_json
from portico.errors import BadInput, Misconfigured
from portico.settings.home import Home
from portico.triton.admin import TritonAdmin
from portico.triton.client import UnderstandClient

ENCODERS = {"fp32": "text_encoder_fp32", "int8": "text_encoder"}
THREADS = {"classification": 1, "retrieval": 2}
"""Of one run of the encoder, as the served models have it."""
BATCH_S = 60.0


@dataclass(frozen=True)
class EvalRequest:
    data: DataSet
    train: DataSet | None
    shots: int | None
    seeds: int
    outside: str


def evaluate(
    file: Annotated[Path, typer.Argument(help="CSV or JSON Lines: text,label or query,document")],
    train: Annotated[
        Path | None, typer.Option("--train", help="train a temporary head on this file (text,label)")
    ] = None,
    shots: Annotated[
        int | None, typer.Option("--shots", min=1, help="draw so many examples a label, from --train or FILE")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=100, help="draw so many times")] = 5,
    oos_label: Annotated[str, typer.Option("--oos-label", help="the label of rows out of scope")] = "oos",
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    picture: Annotated[Path | None, typer.Option("--picture", help="draw the figures to this PNG")] = None,
) -> None:
    """Measure the models that Triton serves on a data set of yours."""
    home = Home.from_environment()
    wanted = EvalRequest(read_data(file), read_data(train) if train else None, shots, seeds, oos_label)
    runs = _plan(home, wanted)
    measured = asyncio.run(_measured(home, wanted, runs))
    if picture:
        report.draw(measured, picture)
    if as_json:
        print_json(measured)
    else:
        report.show(measured)


def _plan(home: Home, wanted: EvalRequest) -> list[Run] | None:
    """What to train; nothing where the served head, or no head, is asked. Raises `BadInput`."""
    data, train = wanted.data, wanted.train
    trained = train is not None or wanted.shots is not None
    if data.task == "retrieval":
        if trained:
            raise BadInput("--train and --shots need a data set with the columns text and label")
        return None
    labels = data.labels(without=wanted.outside)
    if not labels:
        raise BadInput(f"{data.path} has only rows out of scope")
    if not trained:
        _refuse_unknown(labels, _served_intents(home), "the served intents (--shots or --train learns them)")
        return None
    if train is not None:
        if train.task != "classification":
            raise BadInput(f"{train.path}: the columns text and label are missing")
        _refuse_unknown(labels, train.labels(without=wanted.outside), f"those of {train.path}")
    runs = draw(data, train, shots=wanted.shots, seeds=wanted.seeds, outside=wanted.outside)
    if len({label for _, label in runs[0].examples}) < 2:
        raise BadInput("a head needs examples of two labels at least")
    if not any(data.rows[row][1] != wanted.outside for row in runs[0].tested):
        raise BadInput(
            f"{data.path} has no rows left to test on; lower --shots, or name other rows by --train"
        )
    return runs


def _served_intents(home: Home) -> set[str]:
    try:
        told = json.loads((home.models / "understand" / "intents.json").read_bytes())
    except (OSError, ValueError):
        raise Misconfigured("no intents are built yet; start Portico with `portico up`") from None
    return {*told["intents"], OUT_OF_SCOPE}


def _refuse_unknown(labels: set[str], known: set[str], where: str) -> None:
    unknown = sorted(labels - known)
    if unknown:
        more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
        names = ", ".join(unknown[:10])
        raise BadInput(f"unknown labels: {names}{more}; not among {where}")


async def _measured(home: Home, wanted: EvalRequest, runs: list[Run] | None) -> dict[str, Any]:
    async with running_triton(home) as triton:
        if triton is None:
            raise Misconfigured(f"Triton of {home.root} is stopped; start Portico with `portico up`")
        address, admin = triton
        client = UnderstandClient(address, timeout_s=BATCH_S)
        try:
            await measure.sweep(admin, home)
            if wanted.data.task == "retrieval":
                async with measure.loaded(admin, list(ENCODERS.values())):
                    figures = await measure.retrieve(client, ENCODERS, wanted.data)
                seconds = None
            else:
                figures, seconds = await _classified(home, admin, client, wanted, runs)
        finally:
            await client.close()
    return _report(home, wanted, runs, figures, seconds)


async def _classified(
    home: Home, admin: TritonAdmin, client: UnderstandClient, wanted: EvalRequest, runs: list[Run] | None
) -> tuple[dict[str, dict[str, Any]], float | None]:
    name = measure.own_name()
    try:
        made = await asyncio.to_thread(_make, home, name, runs)
        models = dict(made["models"])
        if runs is None:
            models["int8"] = "understand"
        tested = runs or [Run((), tuple(range(len(wanted.data.rows))))]
        async with measure.loaded(admin, list(models.values())):
            figures = await measure.classify(client, models, wanted.data, tested, outside=wanted.outside)
    finally:
        for path in home.models.glob(f"{name}_*"):
            shutil.rmtree(path, ignore_errors=True)
    return figures, made["seconds"]


def _make(home: Home, name: str, runs: Sequence[Run] | None) -> dict[str, Any]:
    order = {
        "name": name,
        "threads": THREADS["classification"],
        "runs": None
        if runs is None
        else [
            {"texts": [text for text, _ in run.examples], "labels": [label for _, label in run.examples]}
            for run in runs
        ],
    }
    told = in_models_environment(
        "triton_models.temporary", ("--home", home.root), given=json.dumps(order).encode()
    )
    made: dict[str, Any] = json.loads(told)
    return made


def _report(
    home: Home,
    wanted: EvalRequest,
    runs: list[Run] | None,
    figures: dict[str, dict[str, Any]],
    seconds: float | None,
) -> dict[str, Any]:
    data = wanted.data
    for precision, encoder in ENCODERS.items():
        figures[precision]["file_bytes"] = (home.models / encoder / "1" / "encoder.onnx").stat().st_size
    labels = len(data.labels(without=wanted.outside)) if data.task == "classification" else None
    return {
        "task": data.task,
        "data": {"path": str(data.path), "rows": len(data.rows), "labels": labels, "sha256": data.sha256},
        "train": {
            "rows": len(runs[0].examples) if runs else None,
            "shots": wanted.shots,
            "seeds": len(runs) if runs else None,
            "seconds": seconds,
        },
        "precisions": figures,
        "int8_vs_fp32": _compared(figures["int8"], figures["fp32"]),
        "machine": {"cpu": _cpu(), "threads": THREADS[data.task]},
    }


def _compared(int8: dict[str, Any], fp32: dict[str, Any]) -> dict[str, Any]:
    apply = int8["accuracy"] is not None
    return {
        "accuracy_points": (int8["accuracy"] - fp32["accuracy"]) * 100 if apply else None,
        "texts_per_s_batch_1": int8["texts_per_s"]["batch_1"] / fp32["texts_per_s"]["batch_1"],
        "texts_per_s_batch_16": int8["texts_per_s"]["batch_16"] / fp32["texts_per_s"]["batch_16"],
        "file_bytes": int8["file_bytes"] / fp32["file_bytes"],
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{line.partition(':')[2].strip()}, {os.cpu_count()} cores"
    return f"{os.cpu_count()} cores"
