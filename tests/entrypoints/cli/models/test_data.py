"""Data sets as people have them: other editors' marks, quotes, empty texts, long ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from entrypoints.cli.models.data import draw, read_data
from portico.errors import BadInput


def written(path: Path, raw: bytes) -> Path:
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_csv_of_any_editor_is_read(tmp_path: Path, end: str, mark: bytes) -> None:
    lines = ["text,label", '"two\nlines, and a ""quote""",greet', "🪿 你好,greet", ",nothing", "3,4"]
    data = read_data(written(tmp_path / "a.csv", mark + end.join(lines).encode()))
    assert data.task == "classification"
    assert data.rows == (
        ('two\nlines, and a "quote"', "greet"),
        ("🪿 你好", "greet"),
        ("", "nothing"),
        ("3", "4"),
    )


def test_json_lines_with_numbers_as_labels_and_spare_columns_are_read(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": 1, "id": 7}, {"label": 2.5, "text": "b" * 100_000}]
    data = read_data(written(tmp_path / "a.jsonl", "\n\n".join(map(json.dumps, rows)).encode()))
    assert data.rows == (("a", "1"), ("b" * 100_000, "2.5"))


def test_pairs_of_question_and_document_are_another_task(tmp_path: Path) -> None:
    assert read_data(written(tmp_path / "a.csv", b"query,document\nq,d\n")).task == "retrieval"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "is empty"),
        (b"text,label\n", "has no rows"),
        (b"sentence,label\na,b\n", "text and label, or query and document, are missing"),
        (b"text,label\na\n", "a.csv:2: label is missing"),
        (b"query,document\n ,d\n", "a.csv:2: query is missing"),
        (b'text,label\n"a,b\n', "not CSV"),
        (b'{"text": "a", "label": "b"}\n[1]\n', "a.csv:2: not a JSON object"),
        (b'{"text": "a"\n', "a.csv:1: not JSON"),
        (b"text,label\n\xff,b\n", "is not UTF-8 (byte 11)"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, raw: bytes, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_data(written(tmp_path / "a.csv", raw))
    assert says in str(caught.value)


def test_draws_are_the_same_for_a_seed_and_leave_the_rest_to_be_tested(tmp_path: Path) -> None:
    rows = "".join(f"{label} {number},{label}\n" for label in ("a", "b", "oos") for number in range(8))
    data = read_data(written(tmp_path / "a.csv", f"text,label\n{rows}".encode()))
    first, second = draw(data, None, shots=3, seeds=2, outside="oos")
    assert [run.examples for run in draw(data, None, shots=3, seeds=2, outside="oos")] == [
        first.examples,
        second.examples,
    ]
    assert first.examples != second.examples
    assert len(first.examples) == 6 and not any(label == "oos" for _, label in first.examples)
    assert len(first.tested) == 24 - 6
