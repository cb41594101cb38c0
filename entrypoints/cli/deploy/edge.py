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
Name = Annotated[str, typer.Option("--name", help="what the edge's certificate calls it [default: edge]")]
Renew = Annotated[
    bool, typer.Option("--renew", help="only new certificates, for an edge that is there and for the gate")
]
RESTART = "docker compose --profile hybrid up -d --force-recreate gate"


def edge(
    target: Target, gate: Gate = "", gate_folder: GateFolder = None, name: Name = "", renew: Renew = False
) -> None:
    """Write what an edge needs that only verifies webhooks and seals them: no key that opens anything stored."""
    from operations.deploy.certificates import lifetimes
    from operations.deploy.edge import NAME, check_name, name_to_renew, write_gate, write_passport
    from portico.settings.home import Home

    host = _host_of(gate) if gate or not renew else ""
    kept = gate_folder or Home.from_environment().root / "gate"
    called = name or (name_to_renew(target, kept) if renew else NAME)
    check_name(called)
    written = [] if renew else _write_edge(target, gate)
    written += write_passport(target, write_gate(kept, host=host, renew=renew), name=called)
    for path in written:
        typer.echo(f"made {path}")
    first = min(one.ends for one in lifetimes(kept) if one.edge in ("", called))
    typer.echo(f"Certificates are good until {first:%Y-%m-%d}; before that day: portico deploy edge --renew")
    typer.echo(f"{kept} holds the gate's keys and stays here; docs/hybrid.md says how the gate is started.")
    typer.echo(f"A gate that runs knows them only after a restart (with compose: {RESTART})")


def _host_of(gate: str) -> str:
    from operations.deploy.env_file import HOST
    from portico.egress.proxy import is_address

    given, _, port = gate.rpartition(":")
    host = given.removeprefix("[").removesuffix("]")
    if not port.isdecimal() or not (HOST.fullmatch(host) or is_address(host)):
        raise Misconfigured(f"--gate {gate}: HOST:PORT is wanted, such as core.example.com:7443")
    return host


def _write_edge(target: Path, gate: str) -> list[Path]:
    from channels import registry
    from entrypoints.cli.database import with_database
    from entrypoints.serve.wiring import secret_resolver
    from operations.deploy.edge import write_edge
    from portico.crypto.keyring import open_keyring
    from portico.settings.home import Home
    from portico.settings.load import load_settings
    from portico.storage.secrets import SecretStore

    home = Home.from_environment()
    home.make()
    settings = load_settings(home)
    resolve = with_database(lambda database, _: secret_resolver(SecretStore(database)))
    accounts = registry.accounts(settings, resolve)
    return write_edge(target, settings=settings, keyring=open_keyring(home), accounts=accounts, gate=gate)
