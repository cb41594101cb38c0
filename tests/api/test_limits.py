"""How much one person may start and hold open at once."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from api.limits import WATCHED_AT_ONCE, Limits
from portico.errors import TooMany


def test_one_person_s_runs_do_not_use_up_another_s() -> None:
    limits = Limits(failed_per_minute=1, messages_per_minute=1, invocations_per_minute=2)
    for _ in range(2):
        limits.check_invoker("ada")
    with pytest.raises(TooMany, match="invocations") as raised:
        limits.check_invoker("ada")
    assert 0 < raised.value.retry_after_s <= 60
    limits.check_invoker("bob")


def test_nothing_is_counted_where_the_limit_is_off() -> None:
    limits = Limits(failed_per_minute=1, messages_per_minute=1)
    for _ in range(10_000):
        limits.check_invoker("ada")


def test_a_stream_that_ends_gives_its_place_back() -> None:
    limits = Limits(failed_per_minute=1, messages_per_minute=1)
    with ExitStack() as held:
        for _ in range(WATCHED_AT_ONCE):
            held.enter_context(limits.watching("ada"))
        with pytest.raises(TooMany, match="open streams"), limits.watching("ada"):
            raise AssertionError("one too many")
        with limits.watching("bob"):
            pass
    with pytest.raises(KeyError), limits.watching("ada"):
        raise KeyError
    assert limits._watching == {}
