"""`portico models train-intents` and `rollback`: a new head, taken over by the running Triton, or the one before."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import typer

from entrypoints.cli.models.server import BUILDER, in_models_environment, running_triton, say
from entrypoints.cli.output import print_json
from portico.errors import Misconfigured, PorticoError
from portico.settings.home import Home
from portico.triton.client import UnderstandClient

MODEL = "understand"
Json = Annotated[bool, typer.Option("--json", help="print JSON")]


def train_intents(as_json: Json = False) -> None:
    """Learn the shipped intents and your own in PORTICO_HOME/intents; a running Portico takes them over."""
    home = _home()
    before = manifest(home)
    in_models_environment(BUILDER, ("--home", home.root, "--retrain"))
    _take_over(home, before, as_json=as_json)


def rollback(as_json: Json = False) -> None:
    """Go back to the intents as they were before the last training."""
    home = _home()
    before = manifest(home)
    in_models_environment(BUILDER, ("--home", home.root, "--rollback"))
    _take_over(home, before, as_json=as_json)


def manifest(home: Home) -> dict[str, Any] | None:
    """What was built last, or nothing yet."""
    try:
        content: dict[str, Any] = json.loads((home.models / "manifest.json").read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Misconfigured(
            f"{home.models / 'manifest.json'} is damaged; delete it and train again"
        ) from error
    return content


def _home() -> Home:
    home = Home.from_environment()
    home.make()
    return home


def _take_over(home: Home, before: dict[str, Any] | None, *, as_json: bool) -> None:
    built = manifest(home)
    assert built is not None  # the builder has ended well
    running = asyncio.run(_reload(home, built, before))
    told = {"version": built["version"], "head_version": built["head_version"], "serving": running}
    if as_json:
        print_json(told)
        return
    name = f"version {built['version']} of the intents (head {built['head_version']})"
    typer.echo(
        f"{name} answers now" if running else f"{name} is ready; Portico is stopped and starts with it"
    )


async def _reload(home: Home, built: dict[str, Any], before: dict[str, Any] | None) -> bool:
    async with running_triton(home) as triton:
        if triton is None:
            return False
        address, admin = triton
        say("models: Triton takes the version over …")
        try:
            await admin.load(MODEL)
            await _check_served(address, built["head_version"])
        except PorticoError:
            _put_back(home, built, before)
            raise
    return True


async def _check_served(address: str, head_version: str) -> None:
    client = UnderstandClient(address, timeout_s=10.0)
    try:
        (result,) = await client.understand(["hello"])
    finally:
        await client.close()
    if result.head_version != head_version:
        raise Misconfigured(f"Triton still answers with head {result.head_version}, not {head_version}")


def _put_back(home: Home, built: dict[str, Any], before: dict[str, Any] | None) -> None:
    """The files name the version again that is still served."""
    if before is not None and before.get("version") not in (None, built["version"]):
        in_models_environment(BUILDER, ("--home", home.root, "--serve", before["version"]))
        say(f"models: version {before['version']} is still served")
