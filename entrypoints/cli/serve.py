"""`portico serve PART`: one part in front, for containers and service managers."""

from __future__ import annotations

from typing import Annotated

import typer

Part = Annotated[str, typer.Argument(help="api or worker")]
Wait = Annotated[
    float,
    typer.Option("--wait", min=0, help="seconds to wait for database, S3 and Temporal before giving up"),
]
Only = Annotated[str, typer.Option("--only", help="of the api: webhooks, for a host that faces the Internet")]


def serve(part: Part, wait: Wait = 30, only: Only = "") -> None:
    """Run one part in front until SIGTERM; addresses of the others come from the settings.

    Each of them is asked first: what is wrong is one line, and nothing starts half.
    """
    if only and (part, only) != ("api", "webhooks"):
        typer.echo(f"portico: --only {only} is not known; there is `serve api --only webhooks`", err=True)
        raise typer.Exit(2)
    if only:
        from entrypoints.serve import webhook_edge

        webhook_edge.main()
    elif part == "api":
        _look_first(wait, edge=True)
        from entrypoints.serve import api

        api.main()
    elif part == "worker":
        _look_first(wait, edge=False)
        from entrypoints.serve import worker

        worker.main()
    else:
        typer.echo(f"portico: no part {part!r} to serve; there are api and worker", err=True)
        raise typer.Exit(2)


def _look_first(wait_s: float, *, edge: bool) -> None:
    """Raises `Misconfigured` or `Unavailable`; says what may come later."""
    import asyncio

    from operations.checks.parts import insist, own_ports, read_ground

    ground = read_ground()
    if edge:
        own_ports(ground.settings)
    for line in asyncio.run(insist(ground, patience_s=wait_s)):
        typer.echo(f"portico: {line}; what needs it waits", err=True)
