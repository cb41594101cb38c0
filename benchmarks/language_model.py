"""What a language model on Triton writes: tokens a second and time to the first token, alone and with others.

`python -m benchmarks.language_model [--model FOLDER]`: a Triton of its own; without a folder it serves a small
random decoder of 66 million weights, so that machines can be compared without fetching anything.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from contextlib import aclosing
from pathlib import Path

from portico.llm.triton import TritonAnswer, TritonModels
from portico.settings.models import RouteSettings
from portico.settings.settings import Settings
from tests.support import RunningStack
from tests.tiny_model import write_tiny_model

AT_ONCE = (1, 2, 4, 8)
NAME = "measured"
PROMPT = "Tell me something about doors. " * 8


async def one(models: TritonModels, tokens: int) -> tuple[float, float]:
    """Seconds to the first piece, and for the whole answer."""
    answer = TritonAnswer(NAME, RouteSettings(kind="triton", model=NAME), models)
    started, first = time.perf_counter(), 0.0
    messages = [{"role": "user", "content": PROMPT}]
    async with aclosing(answer.deltas(messages, max_tokens=tokens)) as deltas:
        async for delta in deltas:
            if delta.text and not first:
                first = time.perf_counter() - started
    await answer.hang_up()
    return first, time.perf_counter() - started


async def measure(models: TritonModels, tokens: int) -> list[tuple[int, float, float]]:
    """(answers at once, tokens/s of all together, median seconds to the first token)."""
    await one(models, 2)
    rows = []
    for count in AT_ONCE:
        started = time.perf_counter()
        told = await asyncio.gather(*(one(models, tokens) for _ in range(count)))
        seconds = time.perf_counter() - started
        rows.append((count, count * tokens / seconds, statistics.median(first for first, _ in told)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a model's folder")
    parser.add_argument("--tokens", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="portico-language-model-") as folder:
        model = options.model or write_tiny_model(Path(folder) / "random", "--endless", "--size", "medium")
        stack = RunningStack(Path(folder) / "home", only=("triton",))
        try:
            stack.start()
            done = stack.run("models", "pull", str(model), "--name", NAME)
            if done.returncode:
                raise SystemExit(done.stderr)
            rows = asyncio.run(_measured(stack, options.tokens))
        finally:
            stack.stop()
    print(f"{'at once':>8} {'tokens/s':>10} {'of each':>10} {'first token':>12}")
    for count, rate, first in rows:
        print(f"{count:>8} {rate:>10.1f} {rate / count:>10.1f} {first * 1000:>9.1f} ms")


async def _measured(stack: RunningStack, tokens: int) -> list[tuple[int, float, float]]:
    language = {NAME: {"context_tokens": 512, "concurrency": max(AT_ONCE)}}
    settings = Settings.model_validate({"models": {"language": language}})
    models = TritonModels(stack.home, lambda: settings)
    try:
        return await measure(models, tokens)
    finally:
        await models.close()


if __name__ == "__main__":
    main()
