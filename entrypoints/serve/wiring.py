"""What every process of Portico starts with: home, settings, keys, database, accounts."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from channels import registry
from channels.registry import Accounts
from portico.crypto.keyring import Keyring, open_keyring
from portico.errors import Misconfigured
from portico.logs import configure_logs
from portico.settings.connections import Connections, connect_to
from portico.settings.home import Home
from portico.settings.load import load_settings
from portico.settings.secret_files import read_secret_file
from portico.settings.settings import Settings
from portico.storage.engine.database import Database
from portico.storage.secrets import SecretStore

Resolve = Callable[[str], str]


@dataclass(frozen=True)
class Foundation:
    """The common ground of api and worker."""

    home: Home
    settings: Settings
    keyring: Keyring
    connections: Connections
    database: Database
    resolve: Resolve
    accounts: Accounts


async def lay_foundation() -> Foundation:
    """Raises `Misconfigured` with one line that says what to do."""
    home = Home.from_environment()
    home.make()
    settings = load_settings(home)
    configure_logs(level=settings.log.level, json_lines=settings.log.json_lines)
    keyring = open_keyring(home)
    database = Database.open(home, keyring, settings)
    resolve = await secret_resolver(SecretStore(database))
    return Foundation(
        home=home,
        settings=settings,
        keyring=keyring,
        connections=connect_to(settings, home),
        database=database,
        resolve=resolve,
        accounts=registry.accounts(settings, resolve),
    )


async def secret_resolver(store: SecretStore) -> Resolve:
    """A function from `secret:NAME`, `env:NAME` or `file:PATH` to the value. Raises `Misconfigured`."""
    stored = {name: await store.get(name) for name in await store.names()}

    def resolve(reference: str) -> str:
        kind, _, name = reference.partition(":")
        if kind == "secret":
            value = stored.get(name)
        elif kind == "env":
            value = os.environ.get(name)  # noqa: TID251 - the settings name this variable
        else:
            value = read_secret_file(name)
        if not value:
            raise Misconfigured(f"{reference} is not there; `portico secrets set {name}` stores a secret")
        return value

    return resolve
