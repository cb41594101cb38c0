"""`portico up`: the embedded stack in front, or detached."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from operations.embedded.stack import Stack

Only = Annotated[str, typer.Option("--only", hidden=True, help="parts to start, separated by commas")]
Detach = Annotated[
    bool, typer.Option("--detach", help="return when everything is ready; `portico down` stops it")
]
Port = Annotated[
    int | None,
    typer.Option("--port", min=1, max=65535, help="port of the edge [default: 8080 or the next free]"),
]
Config = Annotated[
    Path | None, typer.Option("--config", help="settings file [default: PORTICO_HOME/portico.toml]")
]
Prove = Annotated[
    bool, typer.Option("--prove/--no-prove", help="send one message through every part at the end")
]
NAME_WIDTH = 9
LET_GO = "\x04"  # the line that tells the parent that the start is over


def up(
    detach: Detach = False, port: Port = None, config: Config = None, only: Only = "", prove: Prove = True
) -> None:
    """Start Portico and stay in front; Ctrl-C stops it."""
    from operations.embedded.stack import prepare
    from portico.logs import configure_logs
    from portico.settings.home import Home
    from portico.settings.load import load_settings

    home = Home.from_environment()
    settings = load_settings(home, config)
    configure_logs(level="warning", json_lines=settings.log.json_lines)
    names = tuple(name.strip() for name in only.split(",") if name.strip())
    stack, lock = prepare(home, settings, only=names, report=_report, config=config, port=port)
    started = _go_behind(home.logs / "portico.log") if detach else _stay
    lock.note_holder()
    asyncio.run(_run(stack, started, prove=prove, behind=detach))


async def _run(stack: Stack, started: Callable[[], None], *, prove: bool, behind: bool) -> None:
    from operations.embedded.announce import announce

    async def tell(stack: Stack) -> None:
        await announce(stack, prove=prove, behind=behind)
        started()

    await stack.run(tell)


def _report(part: str, what: str) -> None:
    typer.echo(f"{part.ljust(NAME_WIDTH)} {what}")
    sys.stdout.flush()


def _stay() -> None:
    """In front nothing changes when the start is over."""


def _go_behind(log: Path) -> Callable[[], None]:
    """Fork. The child goes on in a session of its own and is heard until the returned function is called.

    The parent prints its child's messages, and ends with the child's exit code, or 0 once the child is on its own.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        os._exit(_relay(reading, child))
    os.close(reading)
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(writing, 1)
    os.dup2(writing, 2)
    os.close(writing)

    def let_go() -> None:
        typer.echo(LET_GO)
        behind = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(behind, 1)
        os.dup2(behind, 2)
        os.close(behind)

    return let_go


def _relay(reading: int, child: int) -> int:
    with os.fdopen(reading) as lines:
        for line in lines:
            if line.rstrip() == LET_GO:
                return 0
            sys.stdout.write(line)
            sys.stdout.flush()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
