"""`portico models usage`: what language models were asked and what it cost."""

from __future__ import annotations

from typing import Annotated

import typer

from entrypoints.cli.edge_client import call
from entrypoints.cli.output import print_json, print_table


def usage(
    days: Annotated[int, typer.Option("--days", min=1, max=366, help="today and the days before")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Answers, tokens and costs by day (UTC), route and person. `~`: counts reckoned from the text."""
    told = call("GET", "/v1/models/usage", params={"days": days})
    if as_json:
        print_json(told)
        return
    heads = ("day", "route", "person", "answers", "tokens in", "tokens out", told["currency"])
    rows = [
        (
            row["day"],
            row["route"],
            row["person"],
            str(row["answers"]),
            f"{'~' if row['estimated'] else ''}{row['input_tokens']}",
            f"{'~' if row['estimated'] else ''}{row['output_tokens']}",
            f"{row['cost']:.4f}",
        )
        for row in told["rows"]
    ]
    print_table([heads, *rows] if rows else [], empty="no model has answered in these days")
    if rows:
        typer.echo(f"today: {told['cost_today']:.4f} {told['currency']}")
