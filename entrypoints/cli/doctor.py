"""`portico doctor`: is this machine fit, is everything there, does it answer."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="print JSON")]


def doctor(as_json: Json = False) -> None:
    """Check this machine, this checkout and this home. Exit code 1 if anything is not well."""
    from operations.checks.doctor import examine
    from portico.settings.home import Home

    findings = list(examine(Home.from_environment()))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            mark = "ok " if finding.well else "BAD"
            mend = "" if finding.well else f" → {finding.mend}"
            typer.echo(f"{mark} {finding.what:12} {finding.detail}{mend}")
    raise typer.Exit(0 if all(finding.well for finding in findings) else 1)
