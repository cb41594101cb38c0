"""Which way live updates go: over the socket of one machine, or through the database that several share."""

from __future__ import annotations

from portico.crypto.keyring import Keyring
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.storage.live.hub import LiveHub, LivePublisher


def publisher(home: Home, keyring: Keyring, settings: Settings) -> LivePublisher:
    if not settings.database.url:
        return LivePublisher(home, keyring)
    from portico.storage.live.postgres import PostgresPublisher

    return PostgresPublisher(home, keyring, settings.database.url.get_secret_value())


def hub(home: Home, keyring: Keyring, settings: Settings) -> LiveHub:
    if not settings.database.url:
        return LiveHub(home, keyring)
    from portico.storage.live.postgres import PostgresHub

    return PostgresHub(home, keyring, settings.database.url.get_secret_value())
