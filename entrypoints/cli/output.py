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


def print_json(value: Any) -> None:
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def print_table(rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Columns as wide as they need; wide characters count as two. On a terminal cells wrap to its width."""
    if not rows:
        typer.echo(empty)
    elif is_terminal():
        _print_rich(rows)
    else:
        _print_plain(rows)


class ProgressBar:
    """One bar on stderr, for bytes."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True, highlight=False, markup=False))
        self._task = self._progress.add_task("", total=None)

    def show(self, what: str, done: int, total: int) -> None:
        """Draw; a whole bar is the last one."""
        self._progress.start()
        self._progress.update(self._task, description=what, completed=done, total=total)
        if done >= total:
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

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, GAP, 0, 0))
    for number in range(len(rows[0])):
        table.add_column(style="bold" if number == 0 else "", overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*row)
    console().print(table)


def _print_plain(rows: Sequence[Sequence[str]]) -> None:
    from rich.cells import cell_len

    widths = [max(cell_len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        typer.echo((" " * GAP).join(cells).rstrip())
