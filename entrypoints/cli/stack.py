"""`portico down`, `status` and `logs`: the running stack, seen from outside it."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Follow = Annotated[bool, typer.Option("-f", "--follow", help="go on as the log grows")]
Lines = Annotated[int, typer.Option("-n", "--lines", min=1, help="how many lines from the end")]
STOP_TIMEOUT_S = 60
FOLLOW_EVERY_S = 0.3
MIB = 1024 * 1024


def down() -> None:
    """Stop the Portico of this home, and wait until it is gone."""
    from operations.embedded.state import SupervisorLock
    from portico.errors import Conflict
    from portico.settings.home import Home

    lock = SupervisorLock(Home.from_environment())
    holder = lock.holder()
    if holder is None:
        typer.echo("Portico does not run on this home")
        return
    os.kill(holder, signal.SIGTERM)
    end = time.monotonic() + STOP_TIMEOUT_S
    while lock.holder() is not None:
        if time.monotonic() > end:
            raise Conflict(f"process {holder} has not stopped within {STOP_TIMEOUT_S} s")
        time.sleep(0.05)
    typer.echo("stopped")


def status(as_json: Json = False) -> None:
    """Show each part. Exit code 1 unless every part is ready."""
    from operations.embedded.status import read_status
    from portico.settings.home import Home
    from portico.settings.load import load_settings

    home = Home.from_environment()
    found = read_status(home, load_settings(home))
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2))
    else:
        for part in found.parts:
            memory = f"{part.pss_bytes / MIB:.0f} MiB" if part.pss_bytes else ""
            pid = f"process {part.pid}" if part.pid else ""
            where = part.reason or f"{part.address or '':22} {pid:16} {memory}"
            typer.echo(f"{part.part:9} {part.state:9} {where}".rstrip())
        supervisor = f"process {found.supervisor}" if found.supervisor else "stopped"
        grpc = f", gRPC at {found.grpc}" if found.grpc else ""
        typer.echo(f"supervisor {supervisor}, home {found.home}{grpc}")
    raise typer.Exit(0 if found.ready else 1)


def logs(part: str, follow: Follow = False, lines: Lines = 100) -> None:
    """Show the log of a part, or of `portico` itself when it runs detached."""
    from operations.embedded.runner import tail
    from portico.errors import NotFound
    from portico.settings.home import Home

    log = Home.from_environment().logs / f"{part}.log"
    if not log.exists():
        raise NotFound(f"a log of {part!r} in {log.parent}")
    for line in tail(log, lines):
        typer.echo(line)
    if follow:
        _follow(log)


def _follow(log: Path) -> None:
    with log.open(errors="replace") as file:
        file.seek(0, os.SEEK_END)
        while True:
            piece = file.read()
            if piece:
                typer.echo(piece, nl=False)
            elif log.stat().st_size < file.tell():
                file.seek(0)  # it was moved aside
            else:
                time.sleep(FOLLOW_EVERY_S)
