"""What holds for every module, read from its text: no program is needed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from operations.deploy import secrets
from tests.deploy.terraform.program import SOURCE

MODULES = ("kubernetes", "secrets", "single_host", "storage")
MOST_VARIABLES = 12
BLOCK = re.compile(r'^(variable|output) "(\w+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)


def test_every_module_is_tried_and_shown() -> None:
    assert tuple(sorted(path.name for path in (SOURCE / "modules").iterdir())) == MODULES
    examples = "".join(path.read_text() for path in SOURCE.glob("examples/*/main.tf"))
    for module in MODULES:
        assert f'source = "../../modules/{module}"' in examples, module
        assert list((SOURCE / "modules" / module / "tests").glob("*.tftest.hcl")), module


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_the_usual_files(module: str) -> None:
    for name in ("main.tf", "variables.tf", "outputs.tf", "versions.tf"):
        assert (SOURCE / "modules" / module / name).is_file()
    assert "required_version" in (SOURCE / "modules" / module / "versions.tf").read_text()


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.tf")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_what_goes_in_and_out_is_described(path: Path) -> None:
    for kind, name, body in BLOCK.findall(path.read_text()):
        assert re.search(r'^  description\s+= ".+"$', body, re.MULTILINE), name
        assert kind == "output" or re.search(r"^  type\s+= ", body, re.MULTILINE), name


@pytest.mark.parametrize("module", MODULES)
def test_every_variable_that_can_be_wrong_is_refused_in_a_test(module: str) -> None:
    folder = SOURCE / "modules" / module
    text = (folder / "variables.tf").read_text()
    variables = [(name, body) for kind, name, body in BLOCK.findall(text) if kind == "variable"]
    tests = "".join(path.read_text() for path in folder.glob("tests/*.tftest.hcl"))
    assert 1 <= len(variables) <= MOST_VARIABLES
    for name, body in variables:
        assert "validation {" not in body or f"expect_failures = [var.{name}]" in tests, name


def test_the_secrets_are_those_that_deploy_init_makes() -> None:
    text = (SOURCE / "modules" / "secrets" / "main.tf").read_text()
    named = re.search(r"names = \[(.*?)\]", text, re.DOTALL)
    assert named
    made = {kept.name for kept in secrets.KEPT} | {secrets.DATABASE_URL, secrets.KEYRING}
    assert set(re.findall(r'"([\w.]+)"', named[1])) == made
