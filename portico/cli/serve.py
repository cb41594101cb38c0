"""`portico serve PART`: one part in front, for containers and service managers."""

from __future__ import annotations

from typing import Annotated

import typer

Part = Annotated[str, typer.Argument(help="api or worker")]


def serve(part: Part) -> None:
    """Run one part in front until SIGTERM; addresses of the others come from the settings."""
    if part == "api":
        from portico.serve import api

        api.main()
    elif part == "worker":
        from portico.serve import worker

        worker.main()
    else:
        typer.echo(f"portico: no part {part!r} to serve; there are api and worker", err=True)
        raise typer.Exit(2)
