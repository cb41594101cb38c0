"""What a terminal shows, at a width and with colors of its own; and that it is left as it was."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support import CHECKOUT

pytestmark = pytest.mark.nothing

TABLE = """
from entrypoints.cli.output import print_table
print_table([('天气(城市)', 'read', 'low', 'the weather of a city today and on the days after it'),
             ('calculator(expression)', 'none', 'low', 'works out an expression')], empty='')
"""
BAR = """
import sys
from entrypoints.cli.models.language import Progress
progress = Progress()
try:
    progress('weights.bin', 2_000_000, 4_000_000)
    raise KeyboardInterrupt
except KeyboardInterrupt:
    pass
finally:
    progress.close()
"""


def on_a_terminal(code: str, *, columns: int = 80, **environment: str) -> str:
    """Run Python code on a terminal of its own; returns what it drew."""
    inner = f'stty cols {columns}; exec {sys.executable} -c "$CODE"'
    done = subprocess.run(
        ("script", "-qec", inner, "/dev/null"),
        env={**_without_colors(), "TERM": "xterm", "CODE": code, **environment},
        capture_output=True, text=True, cwd=CHECKOUT, check=True,
    )  # fmt: skip
    return done.stdout


def _without_colors() -> dict[str, str]:
    names = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
    return {name: value for name, value in os.environ.items() if name not in names}


def lines_of(drawn: str) -> list[str]:
    plain = drawn.replace("\x1b[1m", "").replace("\x1b[0m", "")
    return [line.rstrip() for line in plain.splitlines()]


@pytest.mark.parametrize("columns", [30, 45, 80, 120])
def test_no_column_is_lost_at_any_width(columns: int) -> None:
    lines = lines_of(on_a_terminal(TABLE, columns=columns))
    words = " ".join(" ".join(lines).split())
    for expected in ("天气(城市)", "read low", "calculator(expression)", "none low", "expression"):
        assert expected in words
    assert "days after it" in words or "days after" in words


def test_a_narrow_terminal_gets_each_row_as_a_block() -> None:
    lines = lines_of(on_a_terminal(TABLE, columns=45))
    assert lines[:2] == ["天气(城市)", "  read  low  the weather of a city today and"]


def test_columns_line_up_on_a_wide_terminal() -> None:
    first, second = lines_of(on_a_terminal(TABLE, columns=120))
    assert first.startswith("天气(城市)              read  low")
    assert second.startswith("calculator(expression)  none  low")


def test_a_dumb_terminal_gets_no_escapes() -> None:
    assert "\x1b" not in on_a_terminal(TABLE, TERM="dumb")


def test_the_bar_shows_the_cursor_again_after_an_interrupt() -> None:
    drawn = on_a_terminal(BAR)
    assert "weights.bin" in drawn
    assert "2.0/4.0 MB" in drawn
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")


def test_the_bar_has_no_color_where_none_is_wanted() -> None:
    assert "\x1b[3" in on_a_terminal(BAR)
    assert "\x1b[3" not in on_a_terminal(BAR, NO_COLOR="1")


def test_no_bar_on_a_dumb_terminal() -> None:
    drawn = on_a_terminal(BAR, TERM="dumb")
    assert "\x1b" not in drawn
    assert "models:  50 %" in drawn


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}], ids=str)
def test_help_has_no_color_where_none_is_wanted(environment: dict[str, str]) -> None:
    help_of = "from entrypoints.cli.main import main; main(['keys', '--help'])"
    drawn = on_a_terminal(help_of, **environment)
    assert "portico keys" in drawn
    assert "\x1b[3" not in drawn
