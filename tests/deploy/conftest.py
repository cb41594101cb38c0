"""What several of the deployment's tests share: one daemon, and one deployment by compose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.deployment import Deployment, make, remove
from tests.deploy.machine import Docker, running_docker
from tests.deploy.provide import provide_images


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """A daemon of the tests' own, started once."""
    with running_docker() as running:
        yield running


@pytest.fixture(scope="session")
def images(docker: Docker) -> None:
    """Every image that compose.yaml names."""
    provide_images(docker)


@pytest.fixture(scope="session")
def deployment(
    docker: Docker, images: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """The compose deployment, started once for all tests; leave it running and ready."""
    remove(docker)
    made = make(docker, tmp_path_factory.mktemp("deployment"))
    try:
        made.up()
        yield made
    finally:
        remove(docker)
