"""The examples of E2B's own READMEs, unchanged, with nothing but the three variables that `portico env` prints."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sandbox.conftest import Service

ELSEWHERE = "domain="  # an example for an account at E2B's own address


def examples() -> list[str]:
    found = []
    for package in ("e2b", "e2b-code-interpreter"):
        readme = importlib.metadata.metadata(package)
        text = str(readme.get_payload() or readme["Description"])
        found += re.findall(r"```(?:py|python)\n(.*?)```", text, re.DOTALL)
    return [example for example in found if ELSEWHERE not in example]


def variables(service: Service) -> dict[str, str]:
    return {"E2B_API_URL": service.url, "E2B_SANDBOX_URL": service.url, "E2B_API_KEY": service.key}


def test_the_readmes_have_examples() -> None:
    assert len(examples()) >= 3


@pytest.mark.parametrize("example", examples(), ids=range(len(examples())))
def test_an_example_runs_unchanged(service: Service, tmp_path: Path, example: str) -> None:
    (tmp_path / "example.py").write_text(example)
    wanted = re.findall(r"print\(.*?\)\s*# (?:outputs )?(.*)", example)

    done = subprocess.run(
        [sys.executable, "-W", "ignore", tmp_path / "example.py"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **variables(service)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert wanted
    assert done.stdout.strip().split() == " ".join(wanted).split()
