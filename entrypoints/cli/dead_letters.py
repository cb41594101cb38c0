"""`portico dead-letters`: what failed, and trying it again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from entrypoints.cli.edge_client import call
from entrypoints.cli.output import print_json, print_table

app = typer.Typer(no_args_is_help=True, help="what failed, and trying it again", add_completion=False)

LetterId = Annotated[str, typer.Argument(help="id of the dead letter, as `list` prints it")]


@app.command("list")
def list_letters(as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Open dead letters."""
    letters = call("GET", "/v1/dead-letters")
    if as_json:
        print_json(letters)
        return
    rows = [
        (
            one["id"],
            f"{datetime.fromtimestamp(one['created_at'], UTC).astimezone():%F %T}",
            one["channel"],
            one["code"],
            one["cause"],
        )
        for one in letters
    ]
    print_table(rows, empty="no dead letters")


@app.command()
def retry(letter_id: LetterId) -> None:
    """Send the same event through again."""
    call("POST", f"/v1/dead-letters/{letter_id}/retry")
    typer.echo("on its way again")


@app.command()
def drop(letter_id: LetterId) -> None:
    """Close a dead letter without trying again."""
    call("POST", f"/v1/dead-letters/{letter_id}/drop")
    typer.echo("dropped")
