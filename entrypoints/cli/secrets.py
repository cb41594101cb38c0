"""`portico secrets`: values that the settings name as `secret:NAME`, stored encrypted."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from entrypoints.cli.database import with_database
from entrypoints.cli.output import print_json, print_table
from portico.storage.secrets import SecretStore

app = typer.Typer(no_args_is_help=True, help="values that settings name as secret:NAME", add_completion=False)


@app.command("set")
def set_secret(name: Annotated[str, typer.Argument(help="name, as in secret:NAME")]) -> None:
    """Store a secret. The value is asked for, or read from standard input, so that no shell history keeps it."""
    value = typer.prompt("value", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline().strip()
    if not value:
        raise typer.BadParameter("the value is empty", param_hint="value")
    with_database(lambda database, _: SecretStore(database).set(name, value))
    typer.echo(f"stored; settings can say `secret:{name}`. A running Portico reads it at its next start.")


@app.command("list")
def list_secrets(as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Names of stored secrets; never their values."""
    names = with_database(lambda database, _: SecretStore(database).names())
    if as_json:
        print_json(list(names))
        return
    print_table([(name,) for name in names], empty="no secrets are stored")
