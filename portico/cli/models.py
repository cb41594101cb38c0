"""`portico models`: language models, used and found; and the models that Triton serves, trained and measured."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from portico.cli.models_eval import evaluate
from portico.cli.models_intents import rollback, train_intents
from portico.cli.output import print_json, print_table
from portico.clients.model_choice import adopt
from portico.clients.model_servers import Offer, find_models, places
from portico.connections import part_address
from portico.errors import Misconfigured, NotFound
from portico.home import Home
from portico.settings import Settings, load_settings, settings_path

app = typer.Typer(no_args_is_help=True, help="language models", add_completion=False)

app.command("eval")(evaluate)
app.command("train-intents")(train_intents)
app.command("rollback")(rollback)

LOOK_S = 1.0
"""A person who asks can wait longer than a start can."""


@app.command("list")
def list_models(as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Models that are used, in order, and those found on this machine."""
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
    if as_json:
        print_json(used + found)
        return
    empty = (
        "no model is used, and no model server was found; start Ollama, then `portico models use ollama/NAME`"
    )
    print_table(
        [(each["state"], each["name"], each["model"], each["base_url"]) for each in used + found], empty=empty
    )
    if found and not used:
        typer.echo(f"use one with: portico models use {found[0]['name']}")


@app.command("use")
def use_model(
    name: Annotated[str, typer.Argument(help="as `portico models list` shows it, such as ollama/llama3.2")],
) -> None:
    """Answer free text with this model from now on. The settings file keeps its comments."""
    home = Home.from_environment()
    home.make()
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
