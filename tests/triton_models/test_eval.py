"""`portico models eval`: what it refuses, what it measures, and that it leaves Triton as it was."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tritonclient.grpc.aio import InferenceServerClient

from tests.support import CHECKOUT, RunningStack

HELD_OUT: dict[str, dict[str, list[str]]] = yaml.safe_load(
    (Path(__file__).parent / "held_out.yaml").read_text()
)
FIGURES = {
    "accuracy", "accuracy_min", "accuracy_max", "macro_f1", "oos_auroc", "ece", "recall_at", "mrr_at_10",
    "latency_ms", "texts_per_s", "file_bytes",
}  # fmt: skip


def write_csv(path: Path, columns: tuple[str, str], rows: list[tuple[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def labelled(path: Path, *, oos: str = "oos") -> Path:
    rows = [
        (text, oos if intent == "out_of_scope" else intent)
        for intent, by_language in HELD_OUT.items()
        for texts in by_language.values()
        for text in texts
    ]
    return write_csv(path, ("text", "label"), rows)


def evaluated(stack: RunningStack, *arguments: object) -> dict[str, Any]:
    done = stack.run("models", "eval", *map(str, arguments), "--json")
    assert done.returncode == 0, done.stderr
    assert "models:" in done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert set(report) == {"task", "data", "train", "precisions", "int8_vs_fp32", "machine"}
    assert {name: set(figures) for name, figures in report["precisions"].items()} == {
        "fp32": FIGURES,
        "int8": FIGURES,
    }
    return report


async def left_behind(stack: RunningStack) -> list[str]:
    """What an evaluation loads or writes, where it is still there."""
    client = InferenceServerClient(stack.address("triton"))
    key = {"triton-grpc-protocol-portico-admin": stack.credentials()["triton_admin_key"]}
    index = await client.get_model_repository_index(headers=key, as_json=True)
    await client.close()
    ready = {str(model["name"]) for model in index["models"] if model.get("state") == "READY"}
    made = sorted(name for name in ready if name.startswith(("eval_", "text_encoder_")))
    return made + [path.name for path in stack.home.models.glob("eval_*")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("text,label\n", "has no rows"),
        ("text,class\nhello,greetings\n", "the columns text and label, or query and document, are missing"),
        ("text,label\nhello,\n", ":2: label is missing"),
        ("text,label\nhello\n", ":2: label is missing"),
        ('text,label\n"hello,greetings\n', "not CSV"),
        ('{"text": "hello"}\n', "are missing; it has text"),
        ('{"text": "hello", "label": "time"}\n{"text": "hello"}\n', ":2: label is missing"),
        ('{"text": "hello", "label": "time"}\n{"text\n', ":2: not JSON"),
        ("text,label\nhello,oos\n", "only rows out of scope"),
        ("query,document\nwho,\n", ":2: document is missing"),
    ],
)
def test_refuses_a_wrong_data_set(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(content)
    done = RunningStack(tmp_path / "home").run("models", "eval", str(path))

    assert done.returncode == 1
    assert done.stdout == ""
    assert says in done.stderr
    assert str(path) in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_refuses_what_is_not_utf8_and_what_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes("text,label\nhällo,greetings\n".encode("latin-1"))
    stack = RunningStack(tmp_path / "home")

    assert "is not UTF-8" in stack.run("models", "eval", str(path)).stderr
    assert "No such file" in stack.run("models", "eval", str(tmp_path / "none.csv")).stderr


def test_says_when_triton_is_stopped(tmp_path: Path) -> None:
    data = write_csv(tmp_path / "data.csv", ("query", "document"), [("a", "b")])

    done = RunningStack(tmp_path / "home").run("models", "eval", str(data))

    assert done.returncode == 1
    assert "start Portico with `portico up`" in done.stderr


def test_names_labels_that_the_served_head_does_not_know(inner_stack: RunningStack, tmp_path: Path) -> None:
    data = write_csv(
        tmp_path / "data.csv", ("text", "label"), [("hi", "greetings"), ("fly", "planes"), ("x", "oos")]
    )

    done = inner_stack.run("models", "eval", str(data))

    assert done.returncode == 1
    assert "unknown labels: planes; not among the served intents" in done.stderr


def test_names_labels_that_are_not_trained(inner_stack: RunningStack, tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", ("text", "label"), [("hi", "a"), ("bye", "b")])
    data = write_csv(tmp_path / "data.csv", ("text", "label"), [("hi", "a"), ("bye", "c")])

    done = inner_stack.run("models", "eval", str(data), "--train", str(train))

    assert done.returncode == 1
    assert f"unknown labels: c; not among those of {train}" in done.stderr


async def test_the_served_head_on_sentences_never_seen(inner_stack: RunningStack, tmp_path: Path) -> None:
    report = evaluated(inner_stack, labelled(tmp_path / "data.csv"))

    assert report["task"] == "classification"
    assert report["data"]["labels"] == len(HELD_OUT) - 1
    assert report["train"] == {"rows": None, "shots": None, "seeds": None, "seconds": None}
    for figures in report["precisions"].values():
        assert figures["accuracy"] == figures["accuracy_min"] == figures["accuracy_max"] >= 0.95
        assert figures["oos_auroc"] >= 0.95
        assert figures["recall_at"] is None
        assert figures["latency_ms"]["p50"] <= figures["latency_ms"]["p99"]
    assert abs(report["int8_vs_fp32"]["accuracy_points"]) <= 1
    assert report["int8_vs_fp32"]["file_bytes"] < 0.27
    assert await left_behind(inner_stack) == []


async def test_temporary_heads_for_each_seed(inner_stack: RunningStack, tmp_path: Path) -> None:
    data = labelled(tmp_path / "data.csv", oos="none")
    picture = tmp_path / "figures.png"

    report = evaluated(
        inner_stack, data, "--shots", 5, "--seeds", 2, "--oos-label", "none", "--picture", picture
    )

    labels = len(HELD_OUT) - 1
    assert report["train"] | {"seconds": 0} == {"rows": 5 * labels, "shots": 5, "seeds": 2, "seconds": 0}
    assert 0 < report["train"]["seconds"] < 60
    for figures in report["precisions"].values():
        assert 0.5 < figures["accuracy_min"] <= figures["accuracy"] <= figures["accuracy_max"] <= 1
        assert figures["oos_auroc"] > 0.7
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert await left_behind(inner_stack) == []


async def test_a_head_from_a_file_of_its_own(inner_stack: RunningStack, tmp_path: Path) -> None:
    lines = [
        {"text": text, "label": number}
        for number, texts in enumerate((("red", "blue", "green", "pink"), ("cat", "dog", "cow", "hen")))
        for text in texts
    ]
    train = tmp_path / "train.jsonl"
    train.write_text("\n".join(json.dumps(line) for line in lines))
    data = write_csv(tmp_path / "data.csv", ("text", "label"), [("yellow", "0"), ("horse", "1")])

    report = evaluated(inner_stack, data, "--train", train)

    assert report["train"]["rows"] == 8
    assert report["precisions"]["int8"]["accuracy"] == 1
    assert report["precisions"]["int8"]["oos_auroc"] is None
    assert await left_behind(inner_stack) == []


async def test_retrieval_finds_the_right_document(inner_stack: RunningStack, tmp_path: Path) -> None:
    pairs = [
        ("how do I make bread", "A recipe for a loaf: flour, water, yeast, an hour of patience."),
        ("when do trains leave for the coast", "Timetable of the coastal railway, departures on the hour."),
        ("my tooth hurts", "Dentists in town and when they are open."),
        ("how to plant an apple tree", "Gardening: where fruit trees grow well and how deep to dig."),
    ]
    data = write_csv(tmp_path / "pairs.csv", ("query", "document"), pairs)

    report = evaluated(inner_stack, data)

    assert report["task"] == "retrieval"
    assert report["data"]["labels"] is None
    for figures in report["precisions"].values():
        assert figures["recall_at"] == {"1": 1, "5": 1, "10": 1}
        assert figures["mrr_at_10"] == 1
        assert figures["accuracy"] is None
    assert await left_behind(inner_stack) == []


async def test_the_table_alone_goes_to_stdout(inner_stack: RunningStack, tmp_path: Path) -> None:
    data = write_csv(tmp_path / "data.csv", ("text", "label"), [("hello", "greetings"), ("thanks", "thanks")])

    done = inner_stack.run("models", "eval", str(data))

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["FP32", "INT8", "INT8", "against", "FP32"]
    assert "models:" not in done.stdout


async def test_an_interrupted_evaluation_leaves_nothing_behind(
    inner_stack: RunningStack, tmp_path: Path
) -> None:
    status, out = interrupted(inner_stack, labelled(tmp_path / "data.csv"))

    assert status != 0
    assert out == ""
    assert await left_behind(inner_stack) == []


def interrupted(stack: RunningStack, data: Path) -> tuple[int, str]:
    """Exit status and stdout of an evaluation that gets Ctrl-C while its models are loaded."""
    process = subprocess.Popen(
        [sys.executable, "-m", "entrypoints.cli.main", "models", "eval", data],
        cwd=CHECKOUT, env=stack.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stderr is not None
    assert any("measuring" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out
