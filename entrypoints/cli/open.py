"""`portico open`: a fresh one-time login link for the chat page."""

from __future__ import annotations

import typer

from entrypoints.cli.edge_client import call, edge_url
from portico.settings.home import Home
from portico.settings.load import load_settings


def open_page() -> None:
    """Print a login link. It works once, within 10 minutes."""
    home = Home.from_environment()
    link = call("POST", "/v1/login-links")
    typer.echo((load_settings(home).public_url.rstrip("/") or edge_url(home)) + link["path"])
