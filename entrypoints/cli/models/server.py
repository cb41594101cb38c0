"""What the commands around Triton's models share: the running server, and the models' own environment."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import typer

from operations.embedded.context import MODELS_ENVIRONMENT
from operations.embedded.state import load_credentials
from operations.setup.binaries import CHECKOUT
from portico.errors import Misconfigured
from portico.settings.connections import part_address
from portico.settings.home import Home
from portico.triton.admin import TritonAdmin

BUILDER = "triton_models.build"


def say(text: str) -> None:
    """Print progress to stderr, never into the output."""
    typer.echo(text, err=True)


@contextlib.asynccontextmanager
async def running_triton(home: Home) -> AsyncIterator[tuple[str, TritonAdmin] | None]:
    """Address and admin of this home's Triton, or nothing while it is stopped."""
    address = part_address(home, "triton")
    if address is None:
        yield None
        return
    admin = TritonAdmin(address, load_credentials(home)["triton_admin_key"])
    try:
        yield (address, admin) if await admin.alive() else None
    finally:
        await admin.close()


def in_models_environment(module: str, arguments: Iterable[str | Path], *, given: bytes = b"") -> bytes:
    """Runs a module of `triton_models`; its progress is shown, what it writes to stdout with `given` returned.

    Raises `Misconfigured` with its last line when it fails.
    """
    python = MODELS_ENVIRONMENT / "bin" / "python"
    if not python.exists():
        raise Misconfigured("the models' environment is missing; run `make setup`")
    command = [str(python), "-m", module, *map(str, arguments)]
    process = subprocess.Popen(
        command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if given else subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin:
        process.stdin.write(given)
    last = ""
    for raw in process.stderr or process.stdout or ():
        if last:
            say(last)
        last = raw.decode(errors="replace").rstrip()
    told = process.stdout.read() if given and process.stdout else b""
    if process.wait():
        raise Misconfigured(last or f"{module} ended with {process.returncode}")
    say(last)
    return told
