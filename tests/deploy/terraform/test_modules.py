"""Form, types and refusals of every module and example, by Terraform itself with providers that only pretend."""

from __future__ import annotations

import pytest

from tests.deploy.terraform.program import SOURCE, Terraform

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(900)]
EXAMPLES = sorted(f"examples/{path.name}" for path in (SOURCE / "examples").iterdir())
MODULES = sorted(f"modules/{path.name}" for path in (SOURCE / "modules").iterdir())


def test_everything_is_formatted(terraform: Terraform) -> None:
    terraform.run(".", "fmt", "-check", "-recursive", "-diff")


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_valid(terraform: Terraform, example: str) -> None:
    terraform.init(example)
    terraform.run(example, "validate")


@pytest.mark.parametrize("module", MODULES)
def test_a_module_plans_and_refuses(terraform: Terraform, module: str) -> None:
    terraform.init(module)
    said = terraform.run(module, "test", "-no-color").output
    assert "0 failed" in said, said
