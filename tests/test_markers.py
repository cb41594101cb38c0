"""Each test states by one marker what it needs, so that tests can be selected by it."""

from __future__ import annotations

import pytest

from tests.conftest import NEEDS


def test_every_collected_test_has_exactly_one_need(request: pytest.FixtureRequest) -> None:
    needs = {
        item.nodeid: [name for name in NEEDS if item.get_closest_marker(name)]
        for item in request.session.items
    }
    assert {test: names for test, names in needs.items() if len(names) != 1} == {}
