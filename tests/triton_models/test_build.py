"""Building the repository of a home: whole, verified, and only when something changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from triton_models.store import checksum

CHECKOUT = Path(__file__).parents[2]
PYTHON = CHECKOUT / ".venv-models" / "bin" / "python"
OWN = """\
name: coffee
examples:
  en: [make coffee, brew a cup of coffee, an espresso please, coffee now, I want a cappuccino]
  zh: [来杯咖啡, 煮咖啡, 我要一杯拿铁]
action:
  tool: kettle
  slots:
    cups: ['(\\d+) cups?']
"""

Build = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Runs the builder as `portico up` does, with a cache of this module's own."""
    cache = tmp_path_factory.mktemp("cache")

    def run(home: Path, *options: str, cache: Path = cache) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PYTHON, "-m", "triton_models.build", "--home", home, *options],
            cwd=CHECKOUT,
            env=os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


@pytest.fixture(scope="module")
def home(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("home")
    done = build(root)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return root


def manifest(home: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((home / "models" / "manifest.json").read_text())
    return content


def intents(home: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((home / "models" / "understand" / "intents.json").read_text())
    return content


def test_every_file_is_in_the_manifest_with_its_checksum(home: Path) -> None:
    models = home / "models"
    files = {str(path.relative_to(models)) for path in models.rglob("*") if path.is_file()} - {
        "manifest.json"
    }

    assert files == set(manifest(home)["files"])
    for name, recorded in manifest(home)["files"].items():
        assert checksum(models / name) == recorded["sha256"]
    for model in ("understand", "text_encoder", "text_encoder_fp32"):
        assert {f"{model}/config.pbtxt", f"{model}/1/model.py", f"{model}/1/encoder.onnx"} <= files


def test_int8_is_a_quarter_of_fp32(home: Path) -> None:
    files = manifest(home)["files"]

    assert (
        files["text_encoder/1/encoder.onnx"]["size"]
        < 0.27 * files["text_encoder_fp32/1/encoder.onnx"]["size"]
    )


def test_intents_tell_what_to_do_without_their_examples(home: Path) -> None:
    told = intents(home)

    assert told["version"] == manifest(home)["head_version"]
    assert told["intents"]["time"]["action"]["tool"] == "time"
    assert set(told["intents"]["greetings"]) == {"action"}
    assert "out_of_scope" not in told["intents"]


def test_a_second_build_changes_nothing(build: Build, home: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (home / "models").rglob("*")}

    done = build(home)

    assert "up to date" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert {path: path.stat().st_mtime_ns for path in (home / "models").rglob("*")} == before


def test_another_home_costs_no_second_build(build: Build, home: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    done = build(tmp_path)

    assert time.monotonic() - started < 3  # a build takes several seconds; this reads and links
    assert [line for line in done.stdout.splitlines() if "writing" in line or "training" in line] == []
    assert manifest(tmp_path)["head_version"] == manifest(home)["head_version"]


def test_a_removed_or_changed_file_is_put_back(build: Build, home: Path, tmp_path: Path) -> None:
    build(tmp_path)
    (tmp_path / "models" / "understand" / "1" / "model.py").write_text("broken")
    (tmp_path / "models" / "text_encoder" / "config.pbtxt").unlink()

    assert build(tmp_path).returncode == 0

    for name, recorded in manifest(tmp_path)["files"].items():
        assert checksum(tmp_path / "models" / name) == recorded["sha256"]


def test_a_damaged_model_in_the_cache_is_built_again(build: Build, home: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    build(tmp_path / "one", cache=cache)
    for path in cache.rglob("int8.onnx"):
        path.chmod(0o644)
        with path.open("r+b") as file:
            file.write(b"\0" * 100)

    done = build(tmp_path / "two", cache=cache)

    assert done.returncode == 0, done.stderr
    assert "writing the INT8 encoder" in done.stdout
    name = "understand/1/encoder.onnx"
    assert manifest(tmp_path / "two")["files"][name]["sha256"] == manifest(home)["files"][name]["sha256"]


def test_own_intents_are_learned_and_forgotten(build: Build, home: Path, tmp_path: Path) -> None:
    (tmp_path / "intents").mkdir()
    (tmp_path / "intents" / "coffee.yaml").write_text(OWN)
    build(tmp_path)

    assert intents(tmp_path)["intents"]["coffee"]["action"] == {
        "tool": "kettle",
        "slots": {"cups": [r"(\d+) cups?"]},
    }
    assert manifest(tmp_path)["head_version"] != manifest(home)["head_version"]

    shutil.rmtree(tmp_path / "intents")
    build(tmp_path)

    assert intents(tmp_path) == intents(home)


def test_a_broken_own_intent_is_named_at_every_start_and_stops_nothing(
    build: Build, home: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "intents" / "broken.yaml"
    broken.parent.mkdir()
    broken.write_text("name: broken\nexamples:\n  en: 7\naction: {ask_model: true}\n")

    for _ in range(2):
        done = build(tmp_path)
        assert done.returncode == 0
        assert done.stderr == f"warning: {broken}:3: expected a list (- item)\n"
    assert intents(tmp_path)["intents"] == intents(home)["intents"]


def test_says_in_one_line_what_it_cannot_do(build: Build, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    done = build(tmp_path / "file")

    assert done.returncode == 1
    assert done.stderr.startswith("models: cannot build: ")
    assert len(done.stderr.splitlines()) == 1


def served(home: Path) -> tuple[str, str]:
    """The version that Triton is told to serve, and the head that the file of actions names."""
    config = (home / "models" / "understand" / "config.pbtxt").read_text()
    return config.rpartition("version_policy")[2].strip(), intents(home)["version"]


def test_each_head_is_a_version_and_one_can_go_back(build: Build, home: Path, tmp_path: Path) -> None:
    build(tmp_path)
    first = served(tmp_path)
    assert first[0] == "{ specific { versions: [ 1 ] } }"
    (tmp_path / "intents").mkdir()
    (tmp_path / "intents" / "coffee.yaml").write_text(OWN)
    assert build(tmp_path, "--retrain").returncode == 0
    second = served(tmp_path)
    assert second[0] == "{ specific { versions: [ 2 ] } }"
    assert second[1] != first[1]

    assert build(tmp_path, "--rollback").returncode == 0

    assert served(tmp_path) == first
    assert "coffee" in intents(tmp_path)["intents"]  # the head before may still answer
    assert "up to date" in build(tmp_path).stdout  # the next start stays with it
    assert build(tmp_path, "--retrain").returncode == 0
    assert served(tmp_path) == second  # the same examples are the same version


def test_going_back_further_than_there_are_versions_is_refused(
    build: Build, home: Path, tmp_path: Path
) -> None:
    build(tmp_path)
    before = served(tmp_path)

    done = build(tmp_path, "--rollback")

    assert done.returncode == 1
    assert done.stderr == "models: cannot build: there is no version of the intents before version 1\n"
    assert served(tmp_path) == before


def test_a_damaged_version_is_not_gone_back_to(build: Build, home: Path, tmp_path: Path) -> None:
    build(tmp_path)
    (tmp_path / "intents").mkdir()
    (tmp_path / "intents" / "coffee.yaml").write_text(OWN)
    build(tmp_path, "--retrain")
    before = served(tmp_path)
    head = tmp_path / "models" / "understand" / "1" / "head.npz"
    head.unlink()
    head.write_bytes(b"damaged")

    done = build(tmp_path, "--rollback")

    assert done.returncode == 1
    assert str(head) in done.stderr
    assert served(tmp_path) == before
