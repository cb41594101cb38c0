"""`portico env`: shell exports, so that unmodified SDKs reach this Portico's parts."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from portico.settings.home import Home
    from portico.settings.settings import Settings

Json = Annotated[bool, typer.Option("--json", help="print JSON")]


def env(as_json: Json = False) -> None:
    """Print shell exports: eval "$(portico env)"."""
    from portico.settings.home import Home
    from portico.settings.load import load_settings

    home = Home.from_environment()
    values = variables(home, load_settings(home))
    if as_json:
        typer.echo(json.dumps(values, indent=2))
        return
    for name, value in values.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def variables(home: Home, settings: Settings) -> dict[str, str]:
    """Raises `Misconfigured` where no stack was started on this home."""
    from portico.settings.connections import connect_to, part_address, sandbox_address

    known = connect_to(settings, home)
    scheme = "https" if settings.tls.certificate else "http"
    values = {
        "PORTICO_URL": f"{scheme}://{part_address(home, 'api')}",
        "TEMPORAL_ADDRESS": known.temporal,
        "TEMPORAL_NAMESPACE": known.namespace,
        "OPA_URL": known.opa_url,
        "OPA_TOKEN": known.opa_token.get_secret_value(),
        "TRITON_URL": known.triton,
        "AWS_ENDPOINT_URL_S3": known.s3_url,
        "AWS_ACCESS_KEY_ID": known.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": known.s3_secret_key.get_secret_value(),
        "AWS_REGION": "us-east-1",
    }
    sandbox = sandbox_address(settings, home)
    if sandbox.url:
        values |= {"E2B_API_URL": sandbox.url, "E2B_SANDBOX_URL": sandbox.url, "E2B_API_KEY": sandbox.key}
    if home.cli_key.exists():
        values["PORTICO_API_KEY"] = home.cli_key.read_text().strip()
    return values
