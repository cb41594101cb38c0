"""Which way live updates go: over the socket of one machine, or through the database that several share."""

from __future__ import annotations

from portico.crypto import Keyring
from portico.home import Home
from portico.settings import Settings
from portico.storage.live import LiveHub, LivePublisher


def publisher(home: Home, keyring: Keyring, settings: Settings) -> LivePublisher:
    if not settings.database.url:
        return LivePublisher(home, keyring)
    from portico.storage.live_postgres import PostgresPublisher

    return PostgresPublisher(home, keyring, settings.database.url.get_secret_value())


def hub(home: Home, keyring: Keyring, settings: Settings) -> LiveHub:
    if not settings.database.url:
        return LiveHub(home, keyring)
    from portico.storage.live_postgres import PostgresHub

    return PostgresHub(home, keyring, settings.database.url.get_secret_value())
