"""`portico send TEXT`: one message through every part, and its answer."""

from __future__ import annotations

from typing import Annotated

import typer

from channels.facts import WEB
from entrypoints.cli.edge_client import call
from entrypoints.cli.output import print_json
from portico.errors import PorticoError


class NoReply(PorticoError):
    code = "no_reply"

    def __init__(self, wait_s: float) -> None:
        super().__init__(
            f"stored, but no reply within {wait_s:.0f} s; `portico status` tells what is unavailable"
        )


def send(
    text: Annotated[str, typer.Argument(help="what to say")],
    conversation: Annotated[str | None, typer.Option(help="name of the conversation (default: main)")] = None,
    channel: Annotated[str, typer.Option(help="only `web` can be sent to from here")] = WEB,
    wait_s: Annotated[
        float, typer.Option("--wait", min=0, max=60, help="seconds to wait for the reply")
    ] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Send a message and print the reply."""
    if channel != WEB:
        raise typer.BadParameter("only `web` can be sent to from here", param_hint="--channel")
    answer = call(
        "POST", "/v1/messages", body={"text": text, "conversation": conversation}, params={"wait_s": wait_s}
    )
    if as_json:
        print_json(answer)
    elif answer.get("reply"):
        for part in answer["reply"]["parts"]:
            typer.echo(part.get("text") or part.get("title") or part.get("name", ""))
    if wait_s and not answer.get("reply"):
        raise NoReply(wait_s)
