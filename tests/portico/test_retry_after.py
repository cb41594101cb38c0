"""Waiting times as servers send them: read, bounded, and never an exception."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.errors import Unavailable
from portico.retry_after import LONGEST_S, retry_after_s

NOW = datetime(1994, 11, 6, 8, 48, 37, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [None, "", " ", "0", "-1", "soon", "1e3", "٣", "1,5", "nan", "inf", True, False, [], {}, -3, 0, 0.0,
     float("nan"), float("inf"), float("-inf"), "Sun, 06 Nov 1994 08:48:37 GMT", "Sun, 99 Nov 1994 08:49:37 GMT",
     "Sat, 01 Jan 99999999999 00:00:00 GMT", b"30"],
)  # fmt: skip
def test_what_asks_for_no_wait_is_none(value: object) -> None:
    assert retry_after_s(value, now=NOW) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30.0),
        (" 30 ", 30.0),
        ("1.5", 1.5),
        (30, 30.0),
        (0.25, 0.25),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 60.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 60.0),
        ("Sun Nov  6 08:49:37 1994", 60.0),
        ("Mon, 07 Nov 1994 08:49:37 GMT", LONGEST_S),
        ("99999999999999", LONGEST_S),
        ("9" * 400, LONGEST_S),
        (10**400, LONGEST_S),
        (1e300, LONGEST_S),
    ],
)
def test_seconds_and_dates_are_read_and_bounded(value: object, seconds: float) -> None:
    assert retry_after_s(value, now=NOW) == seconds


@given(st.one_of(st.text(), st.integers(), st.floats(), st.binary(), st.none()))
def test_nothing_raises_and_every_wait_fits_a_timer(value: object) -> None:
    seconds = retry_after_s(value)
    assert seconds is None or 0 < seconds <= LONGEST_S
    timedelta(seconds=seconds or 0)


def test_a_wait_of_fourteen_digits_passes_the_activity_boundary() -> None:
    from activities.boundary import translated

    error = translated(Unavailable("the model", retry_after_s=99999999999999))
    assert error.next_retry_delay == timedelta(seconds=LONGEST_S)
