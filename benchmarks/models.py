"""What the served sentence models reach: INT8 against FP32 at one thread and two, and what one message costs.

`python -m benchmarks.models`: a Triton of its own; precisions take turns in short blocks of the same run, and the
median block counts, because the machine's other work comes and goes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Figures, table
from portico.clients.triton import UnderstandClient
from portico.clients.triton_admin import TritonAdmin
from portico.embedded.context import MODELS_ENVIRONMENT
from portico.home import Home
from tests.support import CHECKOUT, RunningStack

# 30 words of one piece each, and the two marks around them.
WORDS = (
    "the old man and his dog went down to the sea at night and saw two big red ships "
    "on the dark water near the house by an open"
)
TEXTS = [f"{WORDS} {last}" for last in ("door", "gate", "road", "wall", "field", "bridge", "lake", "hill")]
MESSAGE = "what time is it in Tokyo"
SIZES = (1, 16)
CLIENTS = 8


def batch(size: int, *, start: int) -> list[str]:
    return [TEXTS[(start + number) % len(TEXTS)] for number in range(size)]


def make_models(home: Home, threads: int) -> dict[str, str]:
    """Both precisions behind the served head, with as many threads as told."""
    order = json.dumps({"name": f"eval_{os.getpid()}_{threads}", "threads": threads, "runs": None})
    python = MODELS_ENVIRONMENT / "bin" / "python"
    done = subprocess.run(
        [python, "-m", "triton_models.temporary", "--home", home.root],
        cwd=CHECKOUT, input=order.encode(), capture_output=True, check=True,
    )  # fmt: skip
    models: dict[str, str] = json.loads(done.stdout)["models"]
    return models


async def ratios(
    client: UnderstandClient, models: dict[str, str], threads: int, figures: Figures, *, blocks: int
) -> None:
    for size in SIZES:
        for model in models.values():
            await client.guesses(batch(size, start=0), model=model)
        shares = []
        for _ in range(blocks):
            spent = {name: await _block(client, model, size) for name, model in models.items()}
            shares.append(spent["fp32"] / spent["int8"])
        figures.add(f"int8_ratio_threads_{threads}_batch_{size}", statistics.median(shares))


async def _block(client: UnderstandClient, model: str, size: int) -> float:
    """The median second of a request."""
    took = []
    for start in range(12 if size == 1 else 4):
        began = time.perf_counter()
        await client.guesses(batch(size, start=start), model=model)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


async def one_message(client: UnderstandClient, figures: Figures, *, requests: int) -> None:
    took = []
    for _ in range(requests):
        began = time.perf_counter()
        await client.understand([MESSAGE])
        took.append(time.perf_counter() - began)
    figures.add("understand_p50_ms", statistics.median(took) * 1000)


async def many_texts(client: UnderstandClient, figures: Figures, *, seconds: float) -> None:
    """Texts of 32 pieces through the encoder on two threads, batches of 16 waiting in Triton."""
    done, end = 0, time.monotonic() + seconds

    async def work(start: int) -> None:
        nonlocal done
        while time.monotonic() < end:
            embeddings = await client.embed(batch(16, start=start))
            done += len(embeddings)  # not in one line: `+=` reads the sum before it waits

    began = time.monotonic()
    await asyncio.gather(*(work(start) for start in range(CLIENTS)))
    figures.add("encoder_texts_per_s", done / (time.monotonic() - began))


async def measure(stack: RunningStack, figures: Figures, *, blocks: int, seconds: float) -> None:
    address = stack.address("triton")
    client = UnderstandClient(address, timeout_s=60)
    admin = TritonAdmin(address, stack.credentials()["triton_admin_key"])
    try:
        await one_message(client, figures, requests=200)
        await many_texts(client, figures, seconds=seconds)
        for threads in (1, 2):
            models = await asyncio.to_thread(make_models, stack.home, threads)
            for model in models.values():
                await admin.load(model)
            await ratios(client, models, threads, figures, blocks=blocks)
            for model in models.values():
                await admin.unload(model)
    finally:
        await client.close()
        await admin.close()
    files = json.loads((stack.home.models / "manifest.json").read_text())["files"]
    sizes = [files[f"{name}/1/encoder.onnx"]["size"] for name in ("text_encoder", "text_encoder_fp32")]
    figures.add("int8_file_ratio", sizes[0] / sizes[1])


def run(figures: Figures, *, blocks: int = 9, seconds: float = 5.0) -> None:
    """Measures on a Triton of its own, in a home that is removed afterwards."""
    root = Path(tempfile.mkdtemp(prefix="portico-models-bench-"))
    stack = RunningStack(root, only=("triton",))
    try:
        stack.start()
        asyncio.run(measure(stack, figures, blocks=blocks, seconds=seconds))
    finally:
        stack.stop()
        shutil.rmtree(root, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    figures = Figures()
    run(figures, blocks=given.blocks, seconds=given.seconds)
    measured: Sequence[str] = list(figures.readings)
    print(
        "\n".join(
            line
            for number, line in enumerate(table(figures).splitlines())
            if number < 2 or "not measured" not in line
        )
    )
    print(f"{len(measured)} figures, load of the machine {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
