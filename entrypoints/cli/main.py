"""`portico`: the written-out table of commands. A command's module is imported when it is called."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("entrypoints.cli.up:up", "start Portico and stay in front; Ctrl-C stops it"),
    "down": ("entrypoints.cli.stack:down", "stop the Portico of this home"),
    "status": ("entrypoints.cli.stack:status", "each part: process, address, ready or not"),
    "logs": ("entrypoints.cli.stack:logs", "the log of a part"),
    "doctor": ("entrypoints.cli.doctor:doctor", "check this machine and this home, and say what mends them"),
    "env": ("entrypoints.cli.env:env", "shell exports for scripts and SDKs"),
    "send": ("entrypoints.cli.send:send", "say something and read the reply"),
    "open": ("entrypoints.cli.open:open_page", "a one-time login link for the chat page"),
    "channels": ("entrypoints.cli.channels:app", "platforms where people reach Portico"),
    "pair": ("entrypoints.cli.pair:app", "let people in"),
    "dead-letters": ("entrypoints.cli.dead_letters:app", "what failed, and trying it again"),
    "secrets": ("entrypoints.cli.secrets:app", "values that settings name as secret:NAME"),
    "keys": ("entrypoints.cli.keys:app", "bearer keys for programs"),
    "models": ("entrypoints.cli.models.commands:app", "language models: used, found, choosing one"),
    "tools": ("entrypoints.cli.tools.commands:app", "what the gateway can do, and doing it"),
    "backup": ("entrypoints.cli.backup:backup", "save all of this home in one encrypted file"),
    "restore": ("entrypoints.cli.backup:restore", "put such a file in the place of this home"),
    "deploy": ("entrypoints.cli.deploy.commands:app", "run Portico on a server: secrets, checks"),
    "serve": ("entrypoints.cli.serve:serve", "one part in front, for containers and service managers"),
    "policy": ("entrypoints.cli.policy:app", "try and test the rules"),
}
"""name → (module:attribute, one line of help). The attribute is a function or a `typer.Typer`."""

USAGE = (
    "Usage: portico COMMAND [ARGUMENTS]…\n\nA private gateway between where people talk and your own AI.\n"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. A failure that Portico knows is one clear line and exit code 1."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("--help", "-h"):
        sys.stdout.write(_overview())
        return 0
    if given[0] not in COMMANDS:
        sys.stderr.write(f"portico: no command {given[0]!r}; `portico --help` lists them\n")
        return 2
    if arguments is not None:
        return _run(given[0], given[1:])
    _log_aside()
    return _leave(_run(given[0], given[1:]))


def _leave(code: int) -> int:
    """The Temporal SDK can crash at interpreter exit after correct work: nothing is left to do then."""
    if "temporalio.bridge" not in sys.modules:
        return code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _log_aside() -> None:
    """Standard output is for answers: `eval "$(portico env)"` and `--json` allow nothing else there."""
    from portico.logs import configure_logs

    configure_logs(level="warning")


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join([USAGE, "Commands:", *lines, "", "`portico COMMAND --help` tells more.", ""])


def load(name: str) -> typer.Typer:
    """A command of the table, its module imported."""
    import typer

    module, _, attribute = COMMANDS[name][0].partition(":")
    app = getattr(importlib.import_module(module), attribute)
    if not isinstance(app, typer.Typer):
        function, app = app, typer.Typer(add_completion=False)
        app.command()(function)
    return app


def _run(name: str, arguments: list[str]) -> int:
    import typer

    from portico.errors import PorticoError

    app = load(name)
    try:
        typer.main.get_command(app)(args=arguments, prog_name=f"portico {name}")
    except PorticoError as error:
        sys.stderr.write(f"portico: {error}\n")
        return 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
