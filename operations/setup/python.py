"""Provide the Python that the environments are made with: the best one here, else one that is installed."""

from __future__ import annotations

import shutil
from pathlib import Path

from operations.setup import interpreter, system
from operations.setup.environments import provide_uv
from operations.setup.interpreter import Interpreter
from operations.setup.shell import SetupFailed, output_of, run, say


def provide() -> Interpreter:
    """Find one, or install one. Raises `SetupFailed` with the one command that fixes it."""
    best, every = interpreter.find()
    if best and (best.venv or best.pip or shutil.which("uv")):
        return best
    packages = system.python_packages()
    if packages and system.apt_install(packages):
        best, every = interpreter.find()
    if best and (best.venv or best.pip):
        return best
    return _from_uv(every, packages)


def _from_uv(every: list[Interpreter], packages: tuple[str, ...]) -> Interpreter:
    mend = (
        f"sudo apt install {' '.join(packages)}" if packages else "install python3.12 with its shared library"
    )
    try:
        uv = provide_uv(every)
        say("no Python 3.11 or 3.12 with its shared library is here: uv python install 3.12")
        run((uv, "python", "install", "--no-bin", "3.12"))
        path = (output_of((uv, "python", "find", "--managed-python", "3.12")) or "").strip()
        installed = interpreter.examine(Path(path)) if path else None
    except SetupFailed:
        installed = None
    if installed is None or not installed.fits:
        raise SetupFailed(
            f"no Python 3.11 or 3.12 with its shared library (libpython): {mend}, or use compose (README)"
        )
    return installed
