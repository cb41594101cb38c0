"""Runs a data set through models that Triton serves, FP32 and INT8 side by side."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from entrypoints.cli.models import metrics
from entrypoints.cli.models.data import DataSet, Run
from entrypoints.cli.models.server import say
from portico.errors import PorticoError
from portico.settings.home import Home
from portico.triton.admin import TritonAdmin
from portico.triton.client import UnderstandClient

PREFIX = "eval_"
TIMED = {1: 192, 16: 12}
"""Requests for each batch size, after a few that are not counted."""
BLOCK = {1: 24, 16: 2}
AHEAD = 2
"""Requests that wait in Triton, so that it never does."""

Ask = Callable[[str, Sequence[str]], Awaitable[Any]]


def own_name() -> str:
    """A name that tells whether its maker still runs."""
    return f"{PREFIX}{os.getpid()}"


@contextlib.asynccontextmanager
async def loaded(admin: TritonAdmin, names: Sequence[str]) -> AsyncIterator[None]:
    """The models are there inside the block, and those that were not there before are gone after it."""
    added = [name for name in dict.fromkeys(names) if not await admin.ready(name)]
    try:
        for name in added:
            say(f"models: loading {name} …")
            await admin.load(name)
        yield
    finally:
        for name in added:
            with contextlib.suppress(PorticoError):  # Triton may be what went away
                await admin.unload(name)


async def sweep(admin: TritonAdmin, home: Home) -> None:
    """Removes what evaluations left behind that were killed."""
    served = await admin.loaded()
    left = {path.name for path in home.models.glob(f"{PREFIX}*")} | {
        name for name in served if name.startswith(PREFIX)
    }
    for name in left:
        maker = name.split("_")[1]
        if maker.isdigit() and not Path(f"/proc/{maker}").exists():
            if name in served:
                await admin.unload(name)
            shutil.rmtree(home.models / name, ignore_errors=True)


async def classify(
    client: UnderstandClient, models: dict[str, str], data: DataSet, runs: Sequence[Run], *, outside: str
) -> dict[str, dict[str, Any]]:
    """Figures for each precision. The models hold one head for each run."""
    texts = [text for text, _ in data.rows]

    async def ask(model: str, batch: Sequence[str]) -> list[list[tuple[str, float]]]:
        return await client.guesses(batch, model=model)

    speeds = await speed(ask, models, texts)
    found = {}
    for precision, model in models.items():
        guesses = await _all(ask, model, texts, say_as=precision)
        each = [
            metrics.classification(
                [data.rows[row][1] for row in run.tested],
                [guesses[row][number] for row in run.tested],
                outside=outside,
            )
            for number, run in enumerate(runs)
        ]
        found[precision] = _over_runs(each) | {"recall_at": None, "mrr_at_10": None} | speeds[precision]
    return found


async def retrieve(
    client: UnderstandClient, models: dict[str, str], data: DataSet
) -> dict[str, dict[str, Any]]:
    """Figures for each precision: every query against all distinct documents."""
    documents = list(dict.fromkeys(document for _, document in data.rows))
    places = {document: place for place, document in enumerate(documents)}
    queries = [query for query, _ in data.rows]

    async def ask(model: str, batch: Sequence[str]) -> list[Any]:
        return list(await client.embed(batch, model=model))

    speeds = await speed(ask, models, queries)
    found = {}
    for precision, model in models.items():
        pool = np.array(await _all(ask, model, documents, say_as=f"{precision} documents"))
        asked = np.array(await _all(ask, model, queries, say_as=f"{precision} queries"))
        ranks = metrics.ranks(asked, pool, [places[document] for _, document in data.rows])
        nothing = dict.fromkeys(("accuracy", "accuracy_min", "accuracy_max", "macro_f1", "oos_auroc", "ece"))
        found[precision] = nothing | metrics.retrieval(ranks) | speeds[precision]
    return found


def _over_runs(each: list[dict[str, float | None]]) -> dict[str, Any]:
    def mean(name: str) -> float | None:
        values = [figures[name] for figures in each]
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    accuracies = [value for figures in each if (value := figures["accuracy"]) is not None]
    return {
        "accuracy": mean("accuracy"),
        "accuracy_min": min(accuracies, default=None),
        "accuracy_max": max(accuracies, default=None),
        "macro_f1": mean("macro_f1"),
        "oos_auroc": mean("oos_auroc"),
        "ece": mean("ece"),
    }


async def _all(ask: Ask, model: str, texts: Sequence[str], *, say_as: str) -> list[Any]:
    """The answers to all texts, in order; one batch is on its way while another is computed."""
    batches = [texts[start : start + 32] for start in range(0, len(texts), 32)]
    answers: list[list[Any]] = [[] for _ in batches]
    waiting, told = iter(range(len(batches))), time.monotonic()

    async def work() -> None:
        nonlocal told
        for number in waiting:
            answers[number] = await ask(model, batches[number])
            if time.monotonic() - told > 2:
                told = time.monotonic()
                say(f"models: {say_as}: {min(len(texts), (number + 1) * 32)} of {len(texts)} texts")

    await asyncio.gather(*(work() for _ in range(AHEAD)))
    say(f"models: {say_as}: {len(texts)} of {len(texts)} texts")
    return [answer for batch in answers for answer in batch]


async def speed(ask: Ask, models: dict[str, str], texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Latency and texts/s, one request at a time. Precisions take turns, so that a busy machine hits both."""
    say("models: measuring the speed …")
    chance = np.random.default_rng(0)
    sample = [texts[index] for index in chance.integers(len(texts), size=TIMED[1])]
    took: dict[tuple[str, int], list[float]] = {}
    for size, requests in TIMED.items():
        for model in models.values():
            await ask(model, sample[:size])
        for start in range(0, requests, BLOCK[size]):
            for precision, model in models.items():
                spent = took.setdefault((precision, size), [])
                for request in range(start, start + BLOCK[size]):
                    began = time.perf_counter()
                    await ask(model, [sample[(request * size + part) % len(sample)] for part in range(size)])
                    spent.append(time.perf_counter() - began)
    return {precision: _speed_of(took[precision, 1], took[precision, 16]) for precision in models}


def _speed_of(single: list[float], sixteen: list[float]) -> dict[str, Any]:
    return {
        "latency_ms": {
            "p50": float(np.percentile(single, 50) * 1000),
            "p99": float(np.percentile(single, 99) * 1000),
        },
        # The median request, so that what else the machine did meanwhile does not count.
        "texts_per_s": {
            "batch_1": float(1 / np.median(single)),
            "batch_16": float(16 / np.median(sixteen)),
        },
    }
