"""`portico pair`: who waits to be let in, and letting them in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from entrypoints.cli.edge_client import call
from entrypoints.cli.output import print_json, print_table

app = typer.Typer(no_args_is_help=True, help="let people in", add_completion=False)


@app.command("list")
def list_waiting(as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Open pairing codes."""
    waiting = call("GET", "/v1/pairing")
    if as_json:
        print_json(waiting)
        return
    rows = [
        (one["code"], f"{one['channel']}/{one['account']}", one["name"], _until(one["expires_at"]))
        for one in waiting
    ]
    print_table(rows, empty="nobody waits")


@app.command()
def approve(
    code: Annotated[str, typer.Argument(help="the code that the person was shown")],
    role: Annotated[str, typer.Option(help="admin, member, guest or customer")] = "member",
) -> None:
    """Let the person with this code in."""
    approved = call("POST", "/v1/pairing/approve", body={"code": code, "role": role})
    typer.echo(f"paired as {approved['role']}: {approved['person']}")


def _until(timestamp: float) -> str:
    return f"until {datetime.fromtimestamp(timestamp, UTC).astimezone():%H:%M}"
