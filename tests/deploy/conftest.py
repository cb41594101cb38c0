"""What several of the deployment's tests share: one daemon, and one deployment by compose."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.deployment import Deployment, found, make, remove
from tests.deploy.machine import Docker, running_docker
from tests.deploy.provide import provide_images


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    """A daemon of the tests' own, started once."""
    with running_docker() as running:
        yield running


@pytest.fixture(scope="session")
def images(docker: Docker) -> None:
    """Built once. Those that `PORTICO_TEST_DEPLOYMENT` runs on are there."""
    if "PORTICO_TEST_DEPLOYMENT" not in os.environ:
        provide_images(docker)


@pytest.fixture(scope="session")
def deployment(
    docker: Docker, images: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """The compose deployment, started once for all tests; leave it running and ready.

    `PORTICO_TEST_DEPLOYMENT` names the folder of one that is running and is to stay, for work on one test.
    """
    if running := os.environ.get("PORTICO_TEST_DEPLOYMENT"):
        yield found(docker, Path(running))
        return
    remove(docker)
    made = make(docker, tmp_path_factory.mktemp("deployment"))
    try:
        made.up()
        yield made
    finally:
        remove(docker)
