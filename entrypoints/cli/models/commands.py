"""`portico models`: language models, used and found; and the models that Triton serves, trained and measured."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from entrypoints.cli.models.eval import evaluate
from entrypoints.cli.models.intents import rollback, train_intents
from entrypoints.cli.models.language import (
    build_models,
    language_models,
    load_model,
    pull_model,
    remove_model,
    unload_model,
)
from entrypoints.cli.models.release import release
from entrypoints.cli.models.usage import usage
from entrypoints.cli.output import print_json, print_table
from portico.errors import Misconfigured, NotFound
from portico.llm.adopt import adopt, put_route
from portico.llm.detect import Offer, find_models, places
from portico.llm.library.store import installed
from portico.settings.connections import part_address
from portico.settings.home import Home
from portico.settings.load import load_settings, settings_path
from portico.settings.settings import Settings
from portico.settings.table import MIB

app = typer.Typer(no_args_is_help=True, help="language models", add_completion=False)

app.command("eval")(evaluate)
app.command("train-intents")(train_intents)
app.command("rollback")(rollback)
app.command("usage")(usage)
app.command("release")(release)
app.command("pull")(pull_model)
app.command("load")(load_model)
app.command("unload")(unload_model)
app.command("remove")(remove_model)
app.command("build")(build_models)

LOOK_S = 1.0
"""A person who asks can wait longer than a start can."""


@app.command("list")
def list_models(as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Models that are used, in order, those that lie here for Triton, and those found on this machine."""
    home = Home.from_environment()
    settings = load_settings(home)
    used = [
        {
            "name": name,
            "state": "used",
            "model": route.model,
            "base_url": route.base_url,
            "locality": route.locality,
        }
        for name, route in settings.llm.routes.items()
    ]
    places = {(route.base_url, route.model) for route in settings.llm.routes.values()}
    found = [
        {
            "name": offer.name,
            "state": "found",
            "model": offer.model,
            "base_url": offer.base_url,
            "locality": "local",
        }
        for offer in _offers(home, settings)
        if (offer.base_url, offer.model) not in places
    ]
    here = language_models(home, settings)
    if as_json:
        print_json(used + here + found)
        return
    empty = (
        "no model is used, and no model server was found; start Ollama, then `portico models use ollama/NAME`"
    )
    print_table([_row(each) for each in used + here + found], empty=empty)
    if found and not used:
        typer.echo(f"use one with: portico models use {found[0]['name']}")


def _row(model: dict[str, Any]) -> tuple[str, ...]:
    """A model on Triton shows its size and memory where another shows its server."""
    place = str(model.get("base_url", ""))
    if model.get("memory_mib") is not None:
        size, memory = model["size_bytes"] / MIB, model["memory_mib"]
        place = f"{size:.0f} MiB, needs {memory} MiB of {model['free_mib']} MiB free"
    return (str(model["state"]), str(model["name"]), str(model["model"]), str(model["locality"]), place)


@app.command("use")
def use_model(
    name: Annotated[str, typer.Argument(help="as `portico models list` shows it, such as ollama/llama3.2")],
) -> None:
    """Answer free text with this model from now on. The settings file keeps its comments."""
    home = Home.from_environment()
    home.make()
    if any(model.name == name for model in installed(home)):
        path = settings_path(home)
        route = put_route(path, name, {"kind": "triton", "model": name})
        typer.echo(f"{name} answers free text from the next message on (route {route} in {path})")
        return
    offers = {offer.name: offer for offer in _offers(home, load_settings(home))}
    offer = offers.get(name.removesuffix(":latest"))
    if offer is None:
        raise _not_offered(name, offers)
    path = settings_path(home)
    route = adopt(path, offer)
    typer.echo(f"{offer.name} answers free text from the next message on (route {route} in {path})")


def _offers(home: Home, settings: Settings) -> tuple[Offer, ...]:
    ours = {settings.port, settings.grpc_port}
    if edge := part_address(home, "api"):
        ours.add(int(edge.rpartition(":")[2]))
    servers = places(settings.models.ports)
    return asyncio.run(find_models(skip_ports=frozenset(ours), servers=servers, timeout_s=LOOK_S))


def _not_offered(name: str, offers: dict[str, Offer]) -> NotFound | Misconfigured:
    if offers:
        return NotFound(f"model {name!r} among {', '.join(sorted(offers))}")
    return Misconfigured(
        "no model server answers on this machine; start it (Ollama: `ollama serve`), then try again"
    )
