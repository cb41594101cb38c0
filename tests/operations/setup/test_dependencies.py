"""Each dependency set is checked by itself: an undeclared import is refused in every one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from operations.setup import dependencies
from operations.setup.binaries import CHECKOUT

COPIED = (*dependencies.FIRST_PARTY, "infra")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__", "*.json", "binaries", "kubernetes", "terraform")
    for folder in COPIED:
        shutil.copytree(CHECKOUT / folder, tmp_path / folder, ignore=ignored)
    shutil.copyfile(CHECKOUT / "pyproject.toml", tmp_path / "pyproject.toml")
    return tmp_path


def test_every_set_declares_what_it_imports() -> None:
    assert dependencies.main(CHECKOUT) == 0


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("portico/ids.py", "main"),
        ("entrypoints/cli/main.py", "main"),
        ("activities/functions/time.py", "main"),
        ("triton_models/understand/1/model.py", "triton_models"),
        ("sandbox/proxy.py", "sandbox"),
        ("sandbox/guest/shell.py", "sandbox/guest"),
        ("activities/functions/images_open.py", "activities/functions/images.py"),
        ("activities/functions/documents_xlsx.py", "activities/functions/documents.py"),
        ("activities/functions/browser.py", "activities/functions/browser.py"),
    ],
)
def test_an_undeclared_import_is_refused(
    copy: Path, place: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with (copy / place).open("a") as file:
        file.write("\nimport sqlalchemy\n")
    assert dependencies.main(copy) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines if "sqlalchemy" in line] == [name]


def test_a_dependency_that_nothing_imports_is_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (copy / "infra/docker/sandbox.in").open("a") as file:
        file.write("sqlalchemy\n")
    assert dependencies.main(copy) == 1
    assert "DEP002 'sqlalchemy'" in capsys.readouterr().out
