"""Workbooks: from rows, with changed cells, and tables out of any document. Part of `documents`."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Sequence
from typing import Any

from openpyxl import Workbook, load_workbook
from openpyxl.cell import Cell
from openpyxl.utils.exceptions import IllegalCharacterError, InvalidFileException

from portico.tool import AskAgain, ToolFailed

Row = Sequence[Any]
Table = tuple[str, Sequence[Row]]
MOST_CELLS = 1_000_000
LONGEST_CELL = 32_767
ILLEGAL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
DIVIDER = re.compile(r"^\|?\s*:?-{2,}")


def workbook(tables: Sequence[Table], *, formulas: bool) -> bytes:
    book = Workbook()
    book.remove(book.active)
    for name, rows in tables:
        _append(_sheet(book, name), rows, formulas=formulas)
    return _saved(book)


def edited(
    data: bytes, changes: Sequence[tuple[str, str, Any]], append: Sequence[Table], *, formulas: bool
) -> bytes:
    """Raises `AskAgain` for a sheet that is not there."""
    book = _opened(data)
    for name, where, value in changes:
        if name and name not in book.sheetnames:
            raise AskAgain(f"there is no sheet {name!r}; there are {', '.join(book.sheetnames)}")
        sheet = book[name] if name else book.worksheets[0]
        _put(sheet[where], value, formulas=formulas)
    for name, rows in append:
        sheet = book[name] if name in book.sheetnames else _sheet(book, name)
        _append(sheet, rows, formulas=formulas)
    return _saved(book)


def tables_of(data: bytes, kind: str, markdown: str) -> list[Table]:
    """Name and rows of each table; sheets of a workbook with their values."""
    if kind == "xlsx":
        book = _opened(data, values=True)
        found = [(sheet.title, [list(row) for row in sheet.iter_rows(values_only=True)]) for sheet in book]
        return [(name, rows) for name, rows in found if rows]
    if kind == "csv":
        text = data.decode("utf-8-sig", errors="replace")
        return [("Sheet1", list(csv.reader(io.StringIO(text))))]
    return [(f"Table{number}", rows) for number, rows in enumerate(_in_markdown(markdown), 1)]


def csv_of(rows: Sequence[Row]) -> bytes:
    target = io.StringIO()
    csv.writer(target, lineterminator="\n").writerows(rows)
    return target.getvalue().encode()


def _opened(data: bytes, *, values: bool = False) -> Workbook:
    try:
        return load_workbook(io.BytesIO(data), data_only=values, read_only=False, keep_links=False)
    except (
        InvalidFileException,
        zipfile.BadZipFile,
        SyntaxError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
    ):
        raise ToolFailed("the workbook is damaged") from None


def _saved(book: Workbook) -> bytes:
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def _sheet(book: Workbook, name: str) -> Any:
    if name in book.sheetnames:
        raise AskAgain(f"there are two sheets {name!r}")
    return book.create_sheet(name)


def _append(sheet: Any, rows: Sequence[Row], *, formulas: bool) -> None:
    if sum(len(row) for row in rows) > MOST_CELLS:
        raise AskAgain(f"a sheet takes at most {MOST_CELLS} cells")
    first = sheet.max_row + 1 if any(True for _ in sheet.iter_rows(max_row=1, values_only=True)) else 1
    if first == 2 and all(cell.value is None for cell in sheet[1]):
        first = 1
    for number, row in enumerate(rows, first):
        for column, value in enumerate(row, 1):
            _put(sheet.cell(row=number, column=column), value, formulas=formulas)


def _put(cell: Cell, value: Any, *, formulas: bool) -> None:
    """Text that begins with = stays text unless formulas are meant: it may come from a stranger."""
    if isinstance(value, str):
        value = ILLEGAL.sub("", value)[:LONGEST_CELL]
    try:
        cell.value = value
    except (IllegalCharacterError, ValueError):
        raise AskAgain(f"{cell.coordinate} takes no such value") from None
    if cell.data_type == "f" and not formulas:
        cell.data_type = "s"
        cell.quotePrefix = True


def _in_markdown(markdown: str) -> list[list[list[str]]]:
    tables: list[list[list[str]]] = []
    inside = False
    for line in markdown.splitlines():
        is_row = line.strip().startswith("|")
        if is_row and not inside:
            tables.append([])
        inside = is_row
        if is_row and not DIVIDER.match(line.strip()):
            tables[-1].append([cell.strip() for cell in line.strip().strip("|").split("|")])
    return [table for table in tables if table]
