"""`make check`: every static check over what there is. All run; one that fails makes the whole fail."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from operations.setup.binaries import CHECKOUT, OPA
from operations.setup.dependencies import FIRST_PARTY

BIN = Path(sys.executable).parent
POLICIES = CHECKOUT / "policies"
DOCKER = CHECKOUT / "infra" / "docker"
MYPY_FOLDERS = (*FIRST_PARTY, "benchmarks", "infra/docker")


def checks() -> list[tuple[str, list[str]]]:
    """Name and command of each."""
    rego = [str(POLICIES)]
    dockerfiles = sorted(str(path) for path in DOCKER.glob("*.Dockerfile"))
    return [
        ("ruff check", [f"{BIN}/ruff", "check", "--quiet", "."]),
        ("ruff format", [f"{BIN}/ruff", "format", "--check", "--quiet", "."]),
        ("mypy", [f"{BIN}/mypy", "--no-error-summary", *_with_python(MYPY_FOLDERS)]),
        ("lint-imports", [f"{BIN}/lint-imports", "--no-logo"]),
        ("deptry", [sys.executable, "-m", "operations.setup.dependencies"]),
        ("hadolint", [f"{BIN}/hadolint", "--config", f"{DOCKER}/hadolint.yaml", *dockerfiles]),
        ("opa fmt", [str(OPA.path), "fmt", "--list", "--fail", *rego]),
        ("opa check", [str(OPA.path), "check", "--strict", "--ignore", "*.json", *rego]),
        ("opa test", [str(OPA.path), "test", *rego]),
    ]


def _with_python(folders: tuple[str, ...]) -> list[str]:
    return [folder for folder in folders if any((CHECKOUT / folder).rglob("*.py"))]


def run_all(wanted: list[tuple[str, list[str]]]) -> int:
    """Print one line a check, and what a failed one said. 1 if any failed."""
    failed = []
    for name, command in wanted:
        began = time.monotonic()
        done = subprocess.run(
            command,
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=_environment(),
        )
        verdict = "ok" if done.returncode == 0 else "FAILED"
        sys.stdout.write(f"check     {name:13} {verdict}  {time.monotonic() - began:.1f} s\n")
        if done.returncode != 0:
            failed.append(name)
            sys.stdout.write(done.stdout)
        sys.stdout.flush()
    return 1 if failed else 0


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CHECKOUT)}  # import-linter imports from the checkout


if __name__ == "__main__":
    sys.exit(run_all(checks()))
