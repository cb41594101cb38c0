"""`portico deploy edge`: the folder of an edge for webhooks alone, and the gate that it knocks at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portico.errors import Misconfigured

Target = Annotated[Path, typer.Argument(help="a new folder; it is carried to the edge's host")]
Gate = Annotated[
    str, typer.Option("--gate", help="host:port under which the edge reaches the gate before Temporal")
]
GateFolder = Annotated[
    Path | None,
    typer.Option("--gate-folder", help="the gate's keys, which stay here [default: PORTICO_HOME/gate]"),
]
Name = Annotated[str, typer.Option("--name", help="what the edge's certificate calls it")]


def edge(target: Target, gate: Gate, gate_folder: GateFolder = None, name: Name = "edge") -> None:
    """Write what an edge needs that only verifies webhooks and seals them: no key that opens anything stored."""
    from channels import registry
    from portico.cli.store import with_database
    from portico.crypto import open_keyring
    from portico.deploy.edge import write_edge, write_gate, write_passport
    from portico.home import Home
    from portico.serve.foundation import secret_resolver
    from portico.settings import load_settings
    from portico.storage.secrets import SecretStore

    host, _, port = gate.rpartition(":")
    if not host or not port.isdecimal():
        raise Misconfigured(f"--gate {gate}: HOST:PORT is wanted, such as core.example.com:7443")
    home = Home.from_environment()
    home.make()
    settings = load_settings(home)
    resolve = with_database(lambda database, _: secret_resolver(SecretStore(database)))
    accounts = registry.accounts(settings, resolve)
    written = write_edge(target, settings=settings, keyring=open_keyring(home), accounts=accounts, gate=gate)
    kept = gate_folder or home.root / "gate"
    written += write_passport(target, write_gate(kept, host=host.strip("[]")), name=name)
    for path in written:
        typer.echo(f"made {path}")
    typer.echo(f"{kept} holds the gate's keys and stays here; docs/hybrid.md says how the gate is started")
