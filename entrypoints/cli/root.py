"""The root of the command line as a typer group that imports a command when it is used, and shell completion."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import typer
from typer._completion_classes import completion_init
from typer._completion_shared import get_completion_script, install
from typer.completion import shell_complete
from typer.core import TyperGroup

from entrypoints.cli.commands import COMMANDS
from portico.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAM = "portico"
COMPLETE = "_PORTICO_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


def load(name: str) -> typer.Typer:
    """A command of the table, its module imported."""
    module, _, attribute = COMMANDS[name][0].partition(":")
    app = getattr(importlib.import_module(module), attribute)
    if not isinstance(app, typer.Typer):
        function, app = app, typer.Typer(add_completion=False)
        app.command()(function)
    return app


class LazyGroup(TyperGroup):
    """All commands; listing them imports none."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return typer.main.get_command(load(cmd_name)) if cmd_name in COMMANDS else None

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        from typer._click.shell_completion import CompletionItem

        return [
            CompletionItem(name, help=text)
            for name, (_, text) in COMMANDS.items()
            if name.startswith(incomplete)
        ]


def complete(environment: Mapping[str, str]) -> int:
    """Answer the shell's request in `_PORTICO_COMPLETE`."""
    completion_init()
    return shell_complete(LazyGroup(name=PROGRAM), {}, PROGRAM, COMPLETE, environment[COMPLETE])


def completion(option: str, shell: str) -> None:
    """Handle `--install-completion [SHELL]` and `--show-completion [SHELL]`. Raises `BadInput`."""
    completion_init()
    chosen = shell or _current_shell()
    if chosen not in SHELLS:
        raise BadInput(f"completion is available for {', '.join(SHELLS)}: portico {option} SHELL")
    if option == "--show-completion":
        typer.echo(get_completion_script(prog_name=PROGRAM, complete_var=COMPLETE, shell=chosen))
        return
    _, path = install(chosen, PROGRAM, COMPLETE)
    typer.echo(f"completion for {chosen} is in {path}; open a new shell to use it")


def _current_shell() -> str:
    import shellingham

    try:
        return str(shellingham.detect_shell()[0])
    except shellingham.ShellDetectionFailure:
        return ""
