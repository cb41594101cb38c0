"""Writes `docs/settings.md` and `docs/cli.md` from the code: `python -m docs.generate`.

A test tells when they are stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from channels.registry import CHANNELS
from entrypoints.cli.commands import COMMANDS
from entrypoints.cli.root import load
from portico.settings.settings import Settings

DOCS = Path(__file__).parent
MADE = "<!-- Made by `python -m docs.generate`; edit the code instead. -->"
SETTINGS_INTRO = """\
# Settings
{made}

Settings lie in `portico.toml` in `PORTICO_HOME` (default `~/.local/share/portico`), or in the file that `--config` or
`PORTICO_CONFIG` names. Every key can be set by a variable as well: `PORTICO_` and the path in capitals, with two
underscores between levels (`PORTICO_LIMITS__BODY_BYTES=2097152`); the variable wins. An unknown key in the file stops
the start with one line; an unknown variable is a warning. Nothing has to be set.

Secrets are referred to: `secret:NAME` (`portico secrets set NAME`), `env:NAME`, `file:PATH`. Not settings, but read:
`PORTICO_HOME`, `PORTICO_CONFIG`, `PORTICO_MASTER_KEY`, and for commands `PORTICO_URL` and `PORTICO_API_KEY`.
"""
CLI_INTRO = """\
# Command line
{made}

`portico COMMAND --help` tells the same. A failure is one line on standard error and an exit code other than 0 (2 for
wrong usage); standard output is only for answers, so that `--json` and `eval "$(portico env)"` can be relied on.
Commands speak to the Portico of `PORTICO_HOME`, or to another by `PORTICO_URL` and `PORTICO_API_KEY`.
"""


def settings_page() -> str:
    parts = [SETTINGS_INTRO.format(made=MADE), *_tables(Settings, "")]
    parts.append(
        "## Channels\nEach account is a table `[channels.CHANNEL.ACCOUNT]`; see [channels](channels.md).\n"
    )
    for channel in CHANNELS:
        parts += _tables(channel.settings, f"channels.{channel.name}.ACCOUNT")
    return "\n".join(parts)


def _tables(model: type[BaseModel], path: str) -> Iterator[str]:
    """A section for this table, then one for each below it."""
    below: list[tuple[str, type[BaseModel]]] = []
    rows = []
    for name, field in model.model_fields.items():
        place = f"{path}.{name}" if path else name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            below.append((place, field.annotation))
        elif (inner := _model_of_values(field.annotation)) is not None:
            below.append((f"{place}.NAME", inner))
        else:
            rows.append(
                f"| `{name}` | {_kind(field)} | {_default(field)} | {_cell(field.description or '')} |"
            )
    if rows:
        title = f"`[{path}]`" if path else "Top keys"
        yield f"## {title}\n| key | value | default | |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    for place, table in below:
        yield from _tables(table, place)


def _model_of_values(annotation: Any) -> type[BaseModel] | None:
    """For `dict[str, Table]` the table."""
    values = get_args(annotation)[1:] if get_origin(annotation) is dict else ()
    found = values[0] if values else None
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _kind(field: FieldInfo) -> str:
    options = [each for each in get_args(field.annotation) or (field.annotation,) if each is not type(None)]
    if get_origin(field.annotation) is Literal:
        return " or ".join(f'`"{option}"`' for option in options)
    if get_origin(field.annotation) is dict:
        return "tables"
    names = {
        str: "text",
        SecretStr: "secret",
        int: "number",
        float: "number",
        bool: "true or false",
        Path: "path",
    }
    return " or ".join(names.get(option, "table") for option in options)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**needed**"
    value = field.default
    if value is None or value in ("", {}):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def cli_page() -> str:
    parts = [CLI_INTRO.format(made=MADE)]
    for name in COMMANDS:
        parts += _command((name,), typer.main.get_command(load(name)))
    return "\n".join(parts)


def _command(path: tuple[str, ...], command: Any) -> Iterator[str]:
    inner = getattr(command, "commands", None)
    if inner is not None:
        yield f"## `portico {' '.join(path)}`\n{_sentence(COMMANDS[path[0]][1])}\n"
        for name, each in inner.items():
            yield from _command((*path, name), each)
        return
    arguments = [_argument(each) for each in command.params if each.param_type_name == "argument"]
    title = " ".join(("portico", *path, *arguments))
    about = " ".join((command.help or "").split())
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    rows = [
        f"- `{', '.join((*each.opts, *each.secondary_opts))}`: {each.help}" for each in options if each.help
    ]
    yield (
        f"{'#' * (1 + len(path))} `{title}`\n{about}\n"
        + "".join(f"\n{row}" for row in rows)
        + ("\n" * bool(rows))
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _argument(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper())
    return name if argument.required or name.startswith("[") else f"[{name}]"


PAGES = {"settings.md": settings_page, "cli.md": cli_page}


def main() -> None:
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())


if __name__ == "__main__":
    main()
