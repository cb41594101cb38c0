"""The two environments: `.venv` for Portico and its tools, `.venv-models` for what runs inside Triton."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from pathlib import Path

from operations.setup.binaries import CHECKOUT, cache_directory
from operations.setup.interpreter import Interpreter
from operations.setup.shell import SetupFailed, output_of, run

SETUP = CHECKOUT / "operations" / "setup"
MAIN = CHECKOUT / ".venv"
PROGRAM = MAIN / "bin" / "portico"
MODELS = CHECKOUT / ".venv-models"
LOCKS = {"main": CHECKOUT / "requirements.lock", "dev": CHECKOUT / "requirements-dev.lock"}
MODELS_LOCK = CHECKOUT / "triton_models" / "requirements.lock"
SCRIPT = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import sys

from entrypoints.cli.main import main

sys.exit(main())
"""


class Stamps:
    """What an environment was made from, kept inside it."""

    def __init__(self, environment: Path) -> None:
        self._path = environment / "portico-setup.json"

    def has(self, name: str, digest: str) -> bool:
        return self._read().get(name) == digest

    def put(self, name: str, digest: str) -> None:
        self._path.write_text(json.dumps({**self._read(), name: digest}))

    def _read(self) -> dict[str, str]:
        try:
            content: dict[str, str] = json.loads(self._path.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return content


def digest_of(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def provide_uv(interpreters: list[Interpreter]) -> Path:
    """The pinned uv, installed once into the cache with any Python's pip; else the one in PATH."""
    lock = SETUP / "tools.lock"
    home = cache_directory() / "tools" / digest_of(lock)[:12]
    uv = home / "bin" / "uv"
    if uv.exists():
        return uv
    for interpreter in sorted(interpreters, key=lambda one: one.pip, reverse=True):
        if interpreter.pip or interpreter.venv:
            _install_uv(interpreter, lock, home)
            return uv
    known = shutil.which("uv")
    if known is None:
        raise SetupFailed("no Python here has pip or venv to install uv with")
    return Path(known)


def _install_uv(interpreter: Interpreter, lock: Path, home: Path) -> None:
    making = home.with_name(f"{home.name}.{os.getpid()}")
    python = interpreter.path
    try:
        if not interpreter.pip:
            run((python, "-m", "venv", making / "venv"))
            python = making / "venv" / "bin" / "python"
        pip = (python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check")
        run((*pip, "--no-deps", "--require-hashes", "--target", making / "tools", "-r", lock))
        shutil.rmtree(home, ignore_errors=True)
        (making / "tools").rename(home)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def uv_environment() -> dict[str, str]:
    """uv does not read pip's configuration: pass on the index and the certificates that are set there."""
    settings = {
        match[1].replace("_", "-"): match[2]
        for match in re.finditer(
            r"^(?:global|install|:env:)\.([\w-]+)='(.*)'$", _pip_configuration(), re.MULTILINE
        )
    }
    names = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "cert": "SSL_CERT_FILE"}
    given = {names[key]: value for key, value in settings.items() if key in names}
    return {
        "UV_HTTP_TIMEOUT": "180",
        "UV_NO_PROGRESS": "1",
        **{name: value for name, value in given.items() if name not in os.environ},
    }


def _pip_configuration() -> str:
    for command in (("pip3", "config", "list"), ("python3", "-m", "pip", "config", "list")):
        answer = output_of(command)
        if answer is not None:
            return answer
    return ""


def make_environment(path: Path, interpreter: Interpreter, uv: Path) -> None:
    """Make a virtual environment, or keep the one that was made with a Python that fits."""
    python = path / "bin" / "python"
    if python.exists() and output_of((python, "-c", "import encodings")) is not None:
        return
    run((uv, "venv", "--quiet", "--clear", "--python", interpreter.path, path), env=uv_environment())


def install(uv: Path, environment: Path, lock: Path, *options: str) -> None:
    python = environment / "bin" / "python"
    command = (uv, "pip", "install", "--quiet", "--require-hashes", *options, "--python", python, "-r", lock)
    run(command, env=uv_environment())


def put_checkout_on_path() -> None:
    """What an editable install does: the checkout's packages, and `portico` next to the interpreter."""
    packages = next((MAIN / "lib").glob("python3.*/site-packages"))
    (packages / "portico-checkout.pth").write_text(f"{CHECKOUT}\n")
    PROGRAM.write_text(_script())
    PROGRAM.chmod(0o755)


def program_is_current() -> bool:
    """Whether `portico` is what this version writes: an older one imports modules that have moved."""
    return PROGRAM.exists() and PROGRAM.read_text() == _script()


def _script() -> str:
    return SCRIPT.format(python=MAIN / "bin" / "python")


def install_to(uv: Path, folder: Path, lock: Path) -> None:
    """Unpack locked packages into a folder, without an environment."""
    command = (
        uv,
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--require-hashes",
        "--target",
        folder,
        "-r",
        lock,
    )
    run((*command, "--python", sys.executable), env=uv_environment())
