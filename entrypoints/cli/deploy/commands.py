"""`portico deploy`: the secrets of a deployment, a look before it starts, and the job that makes it ready."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from entrypoints.cli.deploy import backup, edge
from entrypoints.cli.deploy.versions import promote, versions
from portico.errors import Misconfigured

if TYPE_CHECKING:
    from operations.checks.deployment import Finding

app = typer.Typer(add_completion=False, no_args_is_help=True, help="run Portico on a server")
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(edge.edge)
app.command(hidden=True)(backup.objects)
app.command(hidden=True)(backup.restored)
app.command()(versions)
app.command()(promote)

Folder = Annotated[Path, typer.Argument(help="where the deployment's secrets and .env lie")]


@app.command()
def init(
    folder: Folder = Path(),
    site: Annotated[
        str | None, typer.Option("--site", help="host name under which people reach it [default: localhost]")
    ] = None,
    https_port: Annotated[
        int | None, typer.Option("--https-port", min=1, max=65535, help="the published port [default: 443]")
    ] = None,
) -> None:
    """Make the secrets and the .env file of a deployment. What is there is kept."""
    from operations.deploy import secrets
    from operations.deploy.env_file import HOST

    if site is not None and not HOST.fullmatch(site):
        raise Misconfigured(f"{site!r} is no host name, such as chat.example.com")
    env = folder / ".env"
    _fits(env, site, https_port)
    folder.mkdir(parents=True, exist_ok=True)
    for name in secrets.make(folder):
        typer.echo(f"made {folder / secrets.FOLDER / name}")
    if env.exists():
        typer.echo(f"kept {env}")
    else:
        env.write_text(f"PORTICO_SITE={site or 'localhost'}\nPORTICO_HTTPS_PORT={https_port or 443}\n")
        typer.echo(f"made {env}")
    config = folder / "config" / "portico.toml"
    if not config.exists():
        config.parent.mkdir(exist_ok=True)
        config.write_text("# Settings of this deployment: channels, models, limits (docs/settings.md).\n")
        typer.echo(f"made {config}")
    typer.echo(f"Keep a copy of {folder / secrets.FOLDER} elsewhere: without it no backup can be read.")
    typer.echo("Next: portico deploy check, then docker compose up --wait")


def _fits(env: Path, site: str | None, https_port: int | None) -> None:
    """An `.env` that is there is never changed; asking for something else than it says would do nothing."""
    from operations.deploy.env_file import DEFAULT_PORT, read_env

    there = read_env(env)
    says = {"PORTICO_SITE": there.get("PORTICO_SITE", ""), "PORTICO_HTTPS_PORT": str(DEFAULT_PORT)} | there
    for name, wanted in (("PORTICO_SITE", site), ("PORTICO_HTTPS_PORT", https_port)):
        if env.exists() and wanted is not None and says[name] != str(wanted):
            raise Misconfigured(f"{env} is there and never changed; for this, write {name}={wanted} into it")


@app.command()
def check(
    folder: Folder = Path(),
    compose_file: backup.ComposeFiles = None,
    project: backup.Project = "",
    parts: Annotated[
        bool, typer.Option("--parts", help="only ask the parts that the settings name, from this very place")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Say what keeps a deployment from starting, or is wrong with one that runs. Exit code 1 if anything is."""
    from operations.checks.deployment import examine

    compose = backup.deployment(folder, compose_file, project)
    findings = asyncio.run(_parts()) if parts else list(examine(compose))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            mark = "ok   " if finding.well else "later" if finding.later else "BAD  "
            typer.echo(f"{mark} {finding.what:13} {finding.detail}")
    raise typer.Exit(0 if all(finding.well or finding.later for finding in findings) else 1)


async def _parts() -> list[Finding]:
    from operations.checks.parts import examine, read_ground

    return [finding async for finding in examine(read_ground())]


@app.command(hidden=True)
def prepare(
    bundle: Annotated[Path | None, typer.Option("--bundle", help="where OPA reads its rules")] = None,
) -> None:
    """Schema, bucket, namespace and rules: what a deployment's first job does."""
    from operations.deploy.prepare import prepare as work

    asyncio.run(work(bundle))


@app.command(hidden=True)
def rules(bundle: Annotated[Path, typer.Option("--bundle", help="where OPA reads its rules")]) -> None:
    """The rules alone, where each OPA makes its own bundle."""
    from operations.deploy.prepare import rules as work

    work(bundle)
