"""What has to be there before edge and worker start, done once by a job of its own and again by every upgrade.

Schema of the database, the bucket, the namespace in Temporal, and the bundle of rules that OPA serves. Every step
may be repeated; one that cannot be done ends the job with a line that says why, and nothing else starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from operations.rules.bundle import build_bundle
from portico.crypto.keyring import Keyring, open_keyring
from portico.errors import Misconfigured, Unavailable
from portico.logs import configure_logs, logger
from portico.private_files import write_private
from portico.settings.connections import Connections, connect_to
from portico.settings.home import Home
from portico.settings.load import load_settings
from portico.settings.settings import Settings
from portico.storage.engine.database import Database
from portico.storage.objects.blobs import BlobStore
from portico.temporal.client import connect, ensure_namespace

PATIENCE_S = 120
PAUSE_S = 1.0

log = logger("prepare")


async def prepare(bundle: Path | None) -> None:
    """Raises `Misconfigured`, or `Unavailable` where a part does not come up in two minutes."""
    home = Home.from_environment()
    home.make()
    settings = load_settings(home)
    configure_logs(level=settings.log.level, json_lines=settings.log.json_lines)
    keyring, connections = open_keyring(home), connect_to(settings, home)
    if bundle is not None:
        write_bundle(home, settings, bundle)
    await patiently("database", lambda: _migrate(home, keyring, settings))
    await patiently("bucket", lambda: _bucket(connections, keyring, settings))
    await patiently("temporal", lambda: _namespace(connections, keyring, settings))


def rules(bundle: Path) -> None:
    """The bundle alone, where each OPA makes its own. Raises `Misconfigured`."""
    home = Home.from_environment()
    home.make()
    settings = load_settings(home)
    configure_logs(level=settings.log.level, json_lines=settings.log.json_lines)
    write_bundle(home, settings, bundle)


def write_bundle(home: Home, settings: Settings, path: Path) -> None:
    """Own rules are compiled by OPA itself when it takes the bundle: it stays away with the reason in its log."""
    if settings.policy.token is None or not settings.policy.token.get_secret_value():
        raise Misconfigured("policy.token is not set: OPA would answer nobody")
    revision, content = build_bundle(home, settings.policy.token.get_secret_value(), opa=None)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, content, mode=0o644)  # OPA reads it as another user
    log.info("prepare.bundle", revision=revision)


async def _migrate(home: Home, keyring: Keyring, settings: Settings) -> None:
    database = await asyncio.to_thread(Database.open, home, keyring, settings)
    database.close()


async def _bucket(connections: Connections, keyring: Keyring, settings: Settings) -> None:
    await BlobStore(connections, keyring).ensure_bucket(retention_days=settings.temporal.retention_days)


async def _namespace(connections: Connections, keyring: Keyring, settings: Settings) -> None:
    client = await connect(connections, keyring)
    await ensure_namespace(client, settings.temporal.retention_days)


async def patiently(what: str, step: Callable[[], Awaitable[None]]) -> None:
    """Parts start at the same time as this job; permanent errors are reported at once."""
    ends = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        try:
            await step()
        except Unavailable as error:
            if asyncio.get_running_loop().time() > ends:
                raise
            log.info("prepare.waits", part=what, why=error.message)
            await asyncio.sleep(PAUSE_S)
        else:
            log.info("prepare.done", part=what)
            return
