"""Models for one evaluation: `python -m triton_models.temporary --home DIR`, told on stdin what to make.

stdin: {"name", "threads", "runs": [{"texts", "labels"}, …] or null for the served head}. A head is trained for
each run and precision, over the encoders of the home; stdout: {"models": {precision: name}, "seconds"}.
Whoever asked loads, unloads and removes them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triton_models import store, versions
from triton_models.build import HERE, MANIFEST, lay_out_code

if TYPE_CHECKING:
    import numpy as np

    from triton_models.head import Head

ENCODERS = {"fp32": "text_encoder_fp32", "int8": "text_encoder"}
SOURCE = "evaluated"


def make(models: Path, name: str, *, threads: int, runs: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Lays the models out; what it returns is described above."""
    made, seconds = {}, 0.0
    for precision, encoder in ENCODERS.items():
        heads: list[Head] = []
        if runs is not None:
            heads, seconds = _trained(models / encoder / "1", runs, precision)
        made[precision] = f"{name}_{precision}"
        target = models / made[precision]
        _lay_out(models, target, encoder, threads)
        for number, head in enumerate(heads):
            head.save(target / "1" / f"head{number:03}.npz")
        if runs is None:
            serving = json.loads((models / MANIFEST).read_text())["version"]
            store.place(models / "understand" / str(serving) / "head.npz", target / "1" / "head.npz")
    return {"models": made, "seconds": round(seconds, 3) if runs else None}


def _trained(encoder: Path, runs: list[dict[str, Any]], precision: str) -> tuple[list[Head], float]:
    """A head for each run, and the seconds that one takes with the embeddings of its examples."""
    import numpy as np

    from triton_models.meaning import MeaningEncoder
    from triton_models.train import Examples, spoken_names, train_head

    started = time.monotonic()
    named = [spoken_names(run["labels"]) for run in runs]
    texts = [text for run in runs for text in run["texts"]] + [text for names in named for text, _ in names]
    texts = list(dict.fromkeys(texts))
    say(f"{precision}: embeddings of {len(texts)} examples")
    embeddings: np.ndarray[Any, Any] = MeaningEncoder(encoder, threads=2).meanings(texts)
    took = (time.monotonic() - started) * len(runs[0]["texts"]) / max(1, len(texts))
    row = {text: number for number, text in enumerate(texts)}
    heads = []
    started = time.monotonic()
    for number, (run, names) in enumerate(zip(runs, named, strict=True), start=1):
        say(f"{precision}: training head {number} of {len(runs)}, {len(run['texts'])} examples")
        examples = [*zip(run["texts"], run["labels"], strict=True), *names]
        rows = np.array([row[text] for text, _ in examples])
        learned, labels = zip(*examples, strict=True)
        heads.append(train_head(Examples(learned, labels, embeddings[rows], names=len(names))))
    return heads, took + (time.monotonic() - started) / len(runs)


def _lay_out(models: Path, target: Path, encoder: str, threads: int) -> None:
    shutil.rmtree(target, ignore_errors=True)
    for file in ("encoder.onnx", "tokenizer.json", "glossary.bin"):
        store.place(models / encoder / "1" / file, target / "1" / file)
    lay_out_code(SOURCE, target / "1")
    config = (HERE / SOURCE / versions.CONFIG).read_text()
    parameter = f'parameters {{ key: "threads" value {{ string_value: "{threads}" }} }}\n'
    (target / versions.CONFIG).write_text(f'name: "{target.name}"\n{config}{parameter}')


def say(text: str) -> None:
    sys.stderr.write(f"models: {text}\n")
    sys.stderr.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="triton_models.temporary", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="PORTICO_HOME")
    models = parser.parse_args().home / "models"
    order = json.load(sys.stdin)
    try:
        made = make(models, order["name"], threads=order["threads"], runs=order["runs"])
    except (OSError, store.DamagedFile) as error:
        sys.stderr.write(f"models: cannot make models to measure: {error}\n")
        return 1
    json.dump(made, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
