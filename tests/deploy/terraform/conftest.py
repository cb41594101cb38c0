"""One copy of the modules for each file of tests: their state lies in it."""

from __future__ import annotations

import pytest

from tests.deploy.terraform.program import Terraform, provide


@pytest.fixture(scope="module")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    return provide(tmp_path_factory.mktemp("terraform"))
