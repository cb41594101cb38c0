"""How commands print: tables for people, JSON for programs, progress on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

import orjson
import typer

if TYPE_CHECKING:
    from rich.console import Console

GAP = 2
LAST_COLUMN_MIN = 24
"""Characters that the last column needs to wrap readably; with less, each row is printed as a block."""


def print_json(value: Any) -> None:
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def print_table(rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Columns as wide as they need; wide characters count as two. On a terminal the last column wraps to its width.

    On a terminal too narrow for that, each row is a block, so that no column is lost.
    """
    if not rows:
        typer.echo(empty)
    elif is_terminal():
        _print_rich(rows)
    else:
        _print_plain(rows)


class ProgressBar:
    """One bar on stderr, for bytes. Close it: while it draws, the cursor is hidden."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True, highlight=False, markup=False))
        self._task = self._progress.add_task("", total=None)

    def show(self, what: str, done: int, total: int) -> None:
        """Draw the bar of a file."""
        self._progress.update(self._task, description=what, completed=done, total=total)
        self._progress.start()

    def close(self) -> None:
        """Show the cursor again. The last state of the bar stays on the screen."""
        self._progress.stop()


def is_terminal(stream: TextIO | None = None) -> bool:
    """Whether a stream (standard output) is a terminal that draws: not `TERM=dumb`."""
    return (stream or sys.stdout).isatty() and os.environ.get("TERM") != "dumb"  # noqa: TID251 - as every terminal program


def console() -> Console:
    """Standard output with colors; rich leaves them out where `NO_COLOR` is set."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def _print_rich(rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table

    *before, last = _widths(rows)
    screen = console()
    if sum(before) + GAP * len(before) + min(last, LAST_COLUMN_MIN) > screen.width:
        _print_blocks(screen, rows)
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, GAP, 0, 0))
    for number in range(len(rows[0])):
        is_last = number == len(before)
        table.add_column(style="" if number else "bold", overflow="fold", no_wrap=not is_last)
    for row in rows:
        table.add_row(*row)
    screen.print(table)


def _print_blocks(screen: Console, rows: Sequence[Sequence[str]]) -> None:
    """The first cell as a line, the others wrapped and indented below it."""
    from rich.padding import Padding
    from rich.text import Text

    for first, *others in rows:
        screen.print(Text(first, style="bold", overflow="fold"))
        below = (" " * GAP).join(cell for cell in others if cell)
        if below:
            screen.print(Padding(Text(below, overflow="fold"), (0, 0, 0, GAP)))


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    from rich.cells import cell_len

    return [max(cell_len(row[column]) for row in rows) for column in range(len(rows[0]))]


def _print_plain(rows: Sequence[Sequence[str]]) -> None:
    from rich.cells import cell_len

    widths = _widths(rows)
    for row in rows:
        cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        typer.echo((" " * GAP).join(cells).rstrip())
