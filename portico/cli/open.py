"""`portico open`: a fresh one-time login link for the chat page."""

from __future__ import annotations

import typer

from portico.cli.edge import call, edge_url
from portico.home import Home


def open_page() -> None:
    """Print a login link. It works once, within 10 minutes."""
    link = call("POST", "/v1/login-links")
    typer.echo(edge_url(Home.from_environment()) + link["path"])
