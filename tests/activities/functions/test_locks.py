"""What the shipped functions import is pinned beside them, with hashes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from operations.setup.binaries import CHECKOUT
from portico.tools.functions.header import read_outline

FOLDER = CHECKOUT / "activities" / "functions"


def asking() -> list[Path]:
    paths = sorted(FOLDER.glob("*.py"))
    return [path for path in paths if read_outline(path.name, path.read_bytes()).dependencies is not None]


def name_of(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def test_the_heavy_ones_ask_for_packages_of_their_own() -> None:
    assert [path.stem for path in asking()] == ["browser", "documents", "images"]


@pytest.mark.parametrize("path", asking(), ids=lambda path: path.stem)
def test_a_lock_pins_what_is_asked_for(path: Path) -> None:
    dependencies = read_outline(path.name, path.read_bytes()).dependencies or ()
    lock = path.with_suffix(".lock").read_text()
    pinned = {name_of(line) for line in lock.splitlines() if re.match(r"[\w.-]+==", line)}
    assert {name_of(one) for one in dependencies} <= pinned
    entries = re.split(r"(?m)^(?=[\w.-]+==)", lock)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in lock


def test_the_browsers_start_can_be_started() -> None:
    assert (FOLDER / "chromium.sh").stat().st_mode & 0o111 == 0o111
