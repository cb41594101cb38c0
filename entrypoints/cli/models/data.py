"""Data sets for `portico models eval`: CSV or JSON Lines, read whole, refused with file and line."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portico.errors import BadInput

TASKS = {"classification": ("text", "label"), "retrieval": ("query", "document")}
MAX_FIELD = 10_000_000


@dataclass(frozen=True)
class DataSet:
    """`rows`: (text, label), or (query, document)."""

    path: Path
    sha256: str
    task: str
    rows: tuple[tuple[str, str], ...]

    def labels(self, *, without: str) -> set[str]:
        return {label for _, label in self.rows if label != without}


def read_data(path: Path) -> DataSet:
    """Raises `BadInput` with what is wrong and where."""
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 (byte {error.start})") from None
    if not text.strip():
        raise BadInput(f"{path} is empty")
    lines = _json_lines if text.lstrip().startswith("{") else _csv
    records = list(lines(path, text))
    if not records:
        raise BadInput(f"{path} has no rows")
    task = _task(path, records[0][1])
    rows = tuple(_row(path, line, record, TASKS[task]) for line, record in records)
    return DataSet(path, hashlib.sha256(raw).hexdigest(), task, rows)


def _json_lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise BadInput(f"{path}:{number}: not JSON: {error}") from None
        if not isinstance(record, dict):
            raise BadInput(f"{path}:{number}: not a JSON object")
        yield number, record


def _csv(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(MAX_FIELD)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
        for record in reader:
            yield reader.line_num, record
    except csv.Error as error:
        raise BadInput(f"{path}:{reader.line_num}: not CSV: {error}") from None


def _task(path: Path, record: dict[str, Any]) -> str:
    for task, columns in TASKS.items():
        if all(column in record for column in columns):
            return task
    found = ", ".join(str(name) for name in record if name is not None)
    raise BadInput(f"{path}: the columns text and label, or query and document, are missing; it has {found}")


def _row(path: Path, line: int, record: dict[str, Any], columns: tuple[str, str]) -> tuple[str, str]:
    values = []
    for column in columns:
        value = record.get(column)
        if column == "label" and isinstance(value, (int, float)):
            value = str(value)
        if not isinstance(value, str) or (column != "text" and not value.strip()):
            raise BadInput(f"{path}:{line}: {column} is missing")
        values.append(value if column == "text" else value.strip())
    return values[0], values[1]


@dataclass(frozen=True)
class Run:
    """One training: its examples, and which rows of the data set it is tested on."""

    examples: tuple[tuple[str, str], ...]
    tested: tuple[int, ...]


def draw(data: DataSet, train: DataSet | None, *, shots: int | None, seeds: int, outside: str) -> list[Run]:
    """The trainings that were asked for. Out-of-scope rows are only ever tested on."""
    everything = range(len(data.rows))
    if train is not None and shots is None:
        return [Run(tuple(row for row in train.rows if row[1] != outside), tuple(everything))]
    source = train or data
    runs = []
    for seed in range(seeds):
        taken = _taken(source.rows, shots or 0, seed=seed, outside=outside)
        examples = tuple(source.rows[index] for index in taken)
        drawn = set() if train else set(taken)
        runs.append(Run(examples, tuple(index for index in everything if index not in drawn)))
    return runs


def _taken(rows: Sequence[tuple[str, str]], shots: int, *, seed: int, outside: str) -> list[int]:
    by_label: dict[str, list[int]] = {}
    for index, (_, label) in enumerate(rows):
        if label != outside:
            by_label.setdefault(label, []).append(index)
    chance = random.Random(seed)
    return [
        index
        for label in sorted(by_label)
        for index in chance.sample(by_label[label], min(shots, len(by_label[label])))
    ]
