"""`portico models release`: what is said in a conversation may go to a cloud route, or no longer."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from entrypoints.cli.edge_client import call


def release(
    conversation: Annotated[
        str, typer.Argument(help="name of a web conversation of yours, or the id of any (conversation-…)")
    ],
    take_back: Annotated[bool, typer.Option("--take-back", help="keep it on this machine again")] = False,
) -> None:
    """Let cloud routes see a conversation, where policy allows it. Its last lines go along, also older ones."""
    data_class = "local" if take_back else "shareable"
    path = f"/v1/conversations/{quote(conversation, safe='')}/data-class"
    told = call("POST", path, body={"data_class": data_class})
    typer.echo(f"{told['conversation']} is {told['data_class']} from its next message on")
