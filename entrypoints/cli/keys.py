"""`portico keys`: bearer keys for programs."""

from __future__ import annotations

from typing import Annotated

import typer

from entrypoints.cli.database import with_database
from entrypoints.cli.output import print_json, print_table
from portico.errors import NotFound
from portico.storage.access import Access

app = typer.Typer(no_args_is_help=True, help="bearer keys for programs", add_completion=False)

ROLES = ("owner", "admin", "member", "guest", "customer", "auditor", "service", "device")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="what the key is for")],
    role: Annotated[str, typer.Option(help=", ".join(ROLES))] = "member",
) -> None:
    """Make a key and print it, once."""
    if role not in ROLES:
        raise typer.BadParameter(f"one of {', '.join(ROLES)}", param_hint="--role")
    typer.echo(with_database(lambda database, _: Access(database).create_key(role, name)))


@app.command("list")
def list_keys(as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Keys by name and role; never the keys themselves."""
    keys = with_database(lambda database, _: Access(database).list())
    if as_json:
        print_json([{"id": key.id, "name": key.name, "role": key.role} for key in keys])
        return
    print_table([(key.id, key.role, key.name) for key in keys], empty="no keys")


@app.command()
def revoke(key_id: Annotated[str, typer.Argument(help="id of the key, as `list` prints it")]) -> None:
    """End a key at once."""
    if not with_database(lambda database, _: Access(database).revoke(key_id)):
        raise NotFound(f"the key {key_id}")
    typer.echo("revoked")
