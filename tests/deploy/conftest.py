"""What several of the deployment's tests share: one daemon, and one deployment by compose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.machine import Docker, running_docker


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """A daemon of the tests' own, started once."""
    with running_docker() as running:
        yield running
