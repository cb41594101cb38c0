"""`portico tools approve` and `callback-secret`: what tools need of a person."""

from __future__ import annotations

import difflib
import json
from typing import Annotated, Any

import typer

from entrypoints.cli.database import with_database
from entrypoints.cli.edge_client import call
from portico.storage.secrets import SecretStore
from portico.tools.callbacks import callback_secret


def approve_tool(
    names: Annotated[list[str], typer.Argument(help="as `portico tools list` shows them", metavar="NAME...")],
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Approve what a tool of an MCP server says of itself, where that changed or the tool is new."""
    for name in names:
        pin = call("GET", f"/v1/tools/{name}/pin")
        pending = pin["pending"]
        if pending is None:
            typer.echo(f"{name}: nothing has changed")
            continue
        typer.echo(f"{name}, a tool of {pin['server']}:")
        for line in difflib.unified_diff(_lines(pin["approved"]), _lines(pending), lineterm="", n=1):
            if not line.startswith(("---", "+++", "@@")):
                typer.echo(f"  {line}")
        if yes or typer.confirm("offer it with this description?"):
            call("POST", f"/v1/tools/{name}/pin", body={"content_hash": pending["content_hash"]})
            typer.echo(f"{name}: approved")


def show_callback_secret() -> None:
    """The key that signs results posted to a callbackUrl (Standard Webhooks); made when it is first asked for."""
    typer.echo(with_database(lambda database, _: callback_secret(SecretStore(database))))


def _lines(told: dict[str, Any] | None) -> list[str]:
    if told is None:
        return []
    schema = json.dumps(told["parameters"], indent=1, ensure_ascii=False, sort_keys=True)
    return [*told["description"].splitlines(), *schema.splitlines()]
