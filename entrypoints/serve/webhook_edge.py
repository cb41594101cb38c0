"""The webhooks alone, for a host that faces the Internet: `portico serve api --only webhooks`.

It sees an event while it verifies it, seals it to the core's public key, hands it to Temporal and keeps nothing. Its
folder, written by `portico deploy edge`, holds what verifies (webhook secrets), the key of ids, the public key and a
way to Temporal; no key that opens anything stored, no database, no objects, no rules.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr
from temporalio.client import Client

from api.app import make_app
from api.deps import WebhookDeps
from api.intake import Intake
from api.limits import Limits
from api.metrics import Metrics
from channels import registry
from entrypoints.serve.api import server_config
from entrypoints.serve.process import run, settle_memory
from operations.ports import is_free
from portico.contracts.messages import BlobRef
from portico.crypto.keyring import KEY_BYTES, DataKey, Keyring, master_key_from_environment
from portico.errors import Misconfigured, TooLarge
from portico.logs import configure_logs
from portico.settings.connections import Connections, temporal_access
from portico.settings.home import Home
from portico.settings.load import load_settings
from portico.settings.secret_files import read_secret_file
from portico.settings.servers import EdgeSettings
from portico.settings.settings import Settings
from portico.telemetry.start import start_traces
from portico.temporal.client import connect
from portico.temporal.codec import SealingCodec
from portico.version import portico_version

LARGEST_SIGNAL_BYTES = 512 * 1024
"""Of a sealed event; larger ones would need objects, which this edge does not reach."""


class NoObjects:
    """Large bodies are refused: nothing is kept here."""

    async def put(self, content: bytes) -> BlobRef:
        raise TooLarge("the event", limit_bytes=LARGEST_SIGNAL_BYTES // 2)


async def make_webhooks(settings: Settings) -> FastAPI:
    """Raises `Misconfigured`."""
    keyring = Keyring((_id_key(settings.edge),))
    client = await _client(settings, keyring)
    deps = WebhookDeps(
        settings=settings,
        accounts=registry.accounts(settings, resolve),
        intake=Intake(
            client,
            keyring,
            NoObjects(),
            signal_bytes=LARGEST_SIGNAL_BYTES,
            split_queues=settings.temporal.split,
            traces=start_traces(settings, part="edge"),
        ),
        limits=Limits(
            failed_per_minute=settings.limits.failed_verifications_per_minute,
            messages_per_minute=settings.limits.messages_per_minute,
        ),
        metrics=Metrics(),
        acknowledges=False,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(deps.intake.traces.close)

    return make_app(deps, None, version=portico_version(), lifespan=lifespan)


def read_edge_settings(home: Home) -> Settings:
    """Raises `Misconfigured`, also where there is more in the home than this edge should hold."""
    settings = load_settings(home)
    for path in (home.keyring, home.master_key, home.database):
        if path.exists():
            raise Misconfigured(
                f"{path} has no place on an edge for webhooks: use a folder made by `portico deploy edge`"
            )
    if master_key_from_environment() is not None:
        raise Misconfigured("PORTICO_MASTER_KEY has no place on an edge for webhooks: unset it")
    if not settings.temporal.address:
        raise Misconfigured("temporal.address is not set: where does the core's Temporal listen?")
    return settings


def resolve(reference: str) -> str:
    """`env:NAME` or `file:PATH`; there is no store of secrets here. Raises `Misconfigured`."""
    kind, _, name = reference.partition(":")
    value = read_secret_file(name) if kind == "file" else os.environ.get(name) if kind == "env" else ""  # noqa: TID251
    if not value:
        raise Misconfigured(f"{reference} is not there; an edge reads file:PATH and env:NAME")
    return value


async def _client(settings: Settings, keyring: Keyring) -> Client:
    given = settings.edge
    public = _decoded(given.seal_key, "edge.seal_key")
    if not given.seal_key_id:
        raise Misconfigured("edge.seal_key_id is not set; `portico deploy edge` writes it")
    connections = Connections(
        temporal=settings.temporal.address,
        namespace=settings.temporal.namespace,
        opa_url="",
        opa_token=SecretStr(""),
        triton="",
        s3_url="",
        s3_access_key="",
        s3_secret_key=SecretStr(""),
        bucket="",
        temporal_access=temporal_access(settings.temporal),
    )
    return await connect(
        connections, keyring, codec=SealingCodec(given.seal_key_id, public), s3=False, lazy=True
    )


def _id_key(given: EdgeSettings) -> DataKey:
    text = given.id_key.get_secret_value() if given.id_key else ""
    return DataKey(id="id", purpose="id", secret=_decoded(text, "edge.id_key"))


def _decoded(text: str, key: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if len(raw) != KEY_BYTES:
        raise Misconfigured(f"{key} is not 32 bytes in base64; `portico deploy edge` writes it")
    return raw


async def serve() -> None:
    """Run until SIGTERM or SIGINT."""
    home = Home.from_environment()
    if not home.settings.exists():
        raise Misconfigured(
            f"{home.settings} is missing; PORTICO_HOME is a folder made by `portico deploy edge`"
        )
    os.chdir(home.root)  # paths in its settings are relative to it: the folder is carried from host to host
    settings = read_edge_settings(home)
    configure_logs(level=settings.log.level, json_lines=settings.log.json_lines)
    if settings.port and not is_free(settings.port, host=settings.host):
        raise Misconfigured(
            f"port {settings.port} on {settings.host} is taken: stop what listens there, or set port"
        )
    app = await make_webhooks(settings)
    config = server_config(app, settings)
    settle_memory()
    await uvicorn.Server(config).serve()


def main() -> None:
    run("api", serve())
