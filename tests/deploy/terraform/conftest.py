"""One copy of the modules for each file of tests: their state lies in it. And the images that a host needs."""

from __future__ import annotations

import os

import pytest

from tests.deploy.machine import Docker
from tests.deploy.provide import provide_images
from tests.deploy.terraform.program import Terraform, provide


@pytest.fixture(scope="module")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    return provide(tmp_path_factory.mktemp("terraform"))


@pytest.fixture(scope="session")
def images(docker: Docker) -> None:
    """Those that `PORTICO_TEST_DEPLOYMENT` runs on are there."""
    if "PORTICO_TEST_DEPLOYMENT" not in os.environ:
        provide_images(docker)
