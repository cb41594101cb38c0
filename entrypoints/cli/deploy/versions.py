"""`portico deploy versions` and `promote`: which version of the worker gets the work."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from entrypoints.cli.output import print_json, print_table
from portico.errors import Misconfigured

if TYPE_CHECKING:
    from operations.deploy.promotion import Promoted, PromotionPlan
    from operations.deploy.versions import Deployment, Versions
    from portico.settings.settings import Settings

NOT_DRAINED = 3
"""Exit code: promoted, but runs are still open on other versions."""
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


def versions(as_json: AsJson = False) -> None:
    """List the versions of the worker, and what is open on each."""
    found = asyncio.run(_look())
    if as_json:
        print_json(_as_data(found))
        return
    rows = [("VERSION", "STATUS", "OPEN", "WORKERS")]
    for one in found.versions:
        workers = ", ".join(f"{queue} {count}" for queue, count in one.workers.items()) or "none"
        rows.append((one.build_id, one.status, str(one.open), workers))
    status = "" if found.current else "current"
    rows.append(("(none)", status, str(found.unversioned), ""))
    print_table(rows, empty="")


def promote(
    build_id: Annotated[
        str, typer.Option("--build-id", help="the version; else the one of the settings")
    ] = "",
    unversioned: Annotated[
        bool, typer.Option("--unversioned", help="give the work to workers without a version")
    ] = False,
    wait_workers: Annotated[
        float, typer.Option("--wait-workers", min=0, help="seconds until its workers must be there")
    ] = 120,
    wait_drained: Annotated[
        float, typer.Option("--wait-drained", min=0, help="seconds until other versions must be empty")
    ] = 0,
    rate: Annotated[float, typer.Option("--rate", min=0.1, help="conversations to move a second")] = 20,
    as_json: AsJson = False,
) -> None:
    """Make a version of the worker current and move open conversations to it. Exit code 3: some did not move yet."""
    from operations.deploy.promotion import PromotionPlan

    if unversioned and build_id:
        raise Misconfigured("--build-id and --unversioned exclude each other")
    settings = _settings()
    wanted = "" if unversioned else build_id or settings.temporal.build_id
    if not wanted and not unversioned:
        raise Misconfigured("name the version: --build-id X, or temporal.build_id in the settings")
    plan = PromotionPlan(
        build_id=wanted,
        split=settings.temporal.split,
        wait_workers_s=wait_workers,
        wait_drained_s=wait_drained,
        rate=rate,
    )
    promoted = asyncio.run(_promote(plan))
    _tell(promoted, as_json=as_json)
    if promoted.lost or (wait_drained and not promoted.drained):
        raise typer.Exit(NOT_DRAINED)


def _tell(promoted: Promoted, *, as_json: bool) -> None:
    from operations.deploy.promotion import named

    if as_json:
        print_json(asdict(promoted) | {"drained": promoted.drained})
        return
    typer.echo(f"{named(promoted.build_id)}: current")
    typer.echo(f"conversations told to move: {promoted.told}, runs taken over: {promoted.taken_over}")
    if promoted.lost:
        typer.echo(
            f"what is open on others could not be moved or counted ({promoted.lost}): give the command again"
        )
    for build_id, left in promoted.left.items():
        typer.echo(f"still open on {build_id}: {left}" if left.any else f"{build_id}: drained")


async def _look() -> Versions:
    deployment = await _deployment(_settings())
    return await deployment.look()


async def _promote(plan: PromotionPlan) -> Promoted:
    from operations.deploy.promotion import Promotion

    deployment = await _deployment(_settings())
    return await Promotion(deployment, plan, say=lambda line: typer.echo(line, err=True)).run()


def _settings() -> Settings:
    from portico.settings.home import Home
    from portico.settings.load import load_settings

    return load_settings(Home.from_environment())


async def _deployment(settings: Settings) -> Deployment:
    from operations.deploy.versions import Deployment
    from portico.crypto.keyring import open_keyring
    from portico.settings.connections import connect_to
    from portico.settings.home import Home
    from portico.temporal.client import connect

    home = Home.from_environment()
    client = await connect(connect_to(settings, home), open_keyring(home), s3=False)
    return Deployment(client, settings.temporal.deployment)


def _as_data(found: Versions) -> dict[str, object]:
    return {
        "deployment": found.deployment,
        "current": found.current or None,
        "versions": [
            {"build_id": one.build_id, "status": one.status, **asdict(one.open), "workers": one.workers}
            for one in found.versions
        ],
        "unversioned": asdict(found.unversioned),
    }
