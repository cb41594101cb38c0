"""What the served sentence models reach: INT8 against FP32 at one thread and two, and what one message costs.

`python -m benchmarks.models`, part of `make bench`: one message and many texts through a Triton of its own, the
ratios in a process of their own, where FP32 and INT8 take turns.
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
from operations.embedded.context import MODELS_ENVIRONMENT
from portico.settings.home import Home
from portico.triton.client import UnderstandClient
from tests.support import CHECKOUT, RunningStack

# 30 words of one piece each, and the two marks around them.
WORDS = (
    "the old man and his dog went down to the sea at night and saw two big red ships "
    "on the dark water near the house by an open"
)
TEXTS = [f"{WORDS} {last}" for last in ("door", "gate", "road", "wall", "field", "bridge", "lake", "hill")]
MESSAGE = "what time is it in Tokyo"
CLIENTS = 8


def batch(size: int, *, start: int) -> list[str]:
    return [TEXTS[(start + number) % len(TEXTS)] for number in range(size)]


def ratios(home: Home, figures: Figures) -> None:
    """INT8 against FP32, the files that Triton serves, in a process of their own (`benchmarks.encoder_speed`)."""
    files = [home.models / name / "1" / "encoder.onnx" for name in ("text_encoder_fp32", "text_encoder")]
    done = subprocess.run(
        [MODELS_ENVIRONMENT / "bin" / "python", "-m", "benchmarks.encoder_speed", *files],
        cwd=CHECKOUT, capture_output=True, check=True,
    )  # fmt: skip
    for row in json.loads(done.stdout):
        figures.add(f"int8_ratio_threads_{row['threads']}_batch_{row['batch']}", row["ratio"])
    sizes = [path.stat().st_size for path in files]
    figures.add("int8_file_ratio", sizes[1] / sizes[0])


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


async def measure(stack: RunningStack, figures: Figures, *, seconds: float) -> None:
    client = UnderstandClient(stack.address("triton"), timeout_s=60)
    try:
        await one_message(client, figures, requests=200)
        await many_texts(client, figures, seconds=seconds)
    finally:
        await client.close()


def run(figures: Figures, *, repeats: int = 3, seconds: float = 5.0) -> None:
    """Measures on a Triton of its own, in a home that is removed afterwards."""
    root = Path(tempfile.mkdtemp(prefix="portico-models-bench-"))
    stack = RunningStack(root, only=("triton",))
    try:
        stack.start()
        for _ in range(repeats):
            asyncio.run(measure(stack, figures, seconds=seconds))
        stack.stop()  # the ratios are the processor's own
        for _ in range(repeats):
            ratios(stack.home, figures)
    finally:
        stack.stop()
        shutil.rmtree(root, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    figures = Figures()
    run(figures, repeats=given.repeats, seconds=given.seconds)
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
