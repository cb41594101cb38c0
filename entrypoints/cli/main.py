"""`portico`: dispatches to a command of the table. The overview needs no library."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from entrypoints.cli.commands import COMMANDS, GROUPS

USAGE = """Usage: portico COMMAND [ARGUMENTS]…

A private gateway between where people talk and your own AI.
"""
OPTIONS = {
    "--version": "the version",
    "--install-completion": "completion for bash, zsh or fish",
    "--show-completion": "the same, printed",
    "--help": "this overview; `portico COMMAND --help` has more",
}
NEAR = 0.6
"""How alike two names have to be for a suggestion, from 0 to 1."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. An error of Portico is one clear line and exit code 1; wrong usage is exit code 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if "_PORTICO_COMPLETE" in os.environ and arguments is None:  # noqa: TID251 - set by the shell's completion
        from entrypoints.cli.root import complete

        return complete(os.environ)  # noqa: TID251
    if not given or given[0] in ("--help", "-h"):
        sys.stdout.write(_overview())
        return 0
    if given[0] in ("--version", "-V"):
        sys.stdout.write(_version())
        return 0
    if given[0] in ("--install-completion", "--show-completion"):
        return _guarded(lambda: _completion(given))
    if given[0] not in COMMANDS:
        sys.stderr.write(
            f"portico: no command {given[0]!r}; {_suggestion(given[0])}`portico --help` lists them\n"
        )
        return 2
    if arguments is not None:
        return _run(given[0], given[1:])
    _log_to_stderr()
    return _leave(_run(given[0], given[1:]))


def _leave(code: int) -> int:
    """The Temporal SDK can crash at interpreter exit after correct work: exit without its teardown."""
    if "temporalio.bridge" not in sys.modules:
        return code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _log_to_stderr() -> None:
    """Standard output is for results: `eval "$(portico env)"` and `--json` allow nothing else there."""
    from portico.logs import configure_logs

    configure_logs(level="warning")


def _overview() -> str:
    width = max(map(len, (*COMMANDS, *OPTIONS)))
    lines = [USAGE]
    for title, names in GROUPS.items():
        lines += [f"{title}:", *(f"  {name.ljust(width)}  {COMMANDS[name][1]}" for name in names), ""]
    lines += ["Options:", *(f"  {name.ljust(width)}  {text}" for name, text in OPTIONS.items()), ""]
    return "\n".join(lines)


def _version() -> str:
    from portico.version import portico_version

    return f"portico {portico_version()} (Python {sys.version.split()[0]})\n"


def _suggestion(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=2, cutoff=NEAR)
    return f"did you mean {' or '.join(near)}? " if near else ""


def _completion(arguments: list[str]) -> int:
    from entrypoints.cli.root import completion

    completion(arguments[0], arguments[1] if len(arguments) > 1 else "")
    return 0


def _run(name: str, arguments: list[str]) -> int:
    def call() -> int:
        import typer

        from entrypoints.cli.root import load

        typer.main.get_command(load(name))(args=arguments, prog_name=f"portico {name}")
        return 0

    return _guarded(call)


def _guarded(call: Callable[[], int]) -> int:
    from portico.errors import PorticoError

    try:
        return call()
    except PorticoError as error:
        sys.stderr.write(f"portico: {error}\n")
        return 1
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)


if __name__ == "__main__":
    sys.exit(main())
