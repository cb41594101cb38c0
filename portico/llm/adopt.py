"""Makes a found model a route: writes it into `portico.toml`, first in order, and leaves the rest alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from portico.errors import Misconfigured
from portico.llm.detect import Offer
from portico.logs import logger
from portico.settings.home import Home
from portico.settings.load import load_settings, settings_path
from portico.settings.settings import Settings

log = logger("settings")


def adopt(path: Path, offer: Offer) -> str:
    """Give the offer a route, the first to be tried; its name. Comments and other keys of the file stay.

    Raises `Misconfigured`, with what to write by hand, where the file is not shaped for that or not writable.
    """
    return put_route(path, offer.name, {"kind": "openai", "base_url": offer.base_url, "model": offer.model})


def put_route(path: Path, label: str, values: dict[str, str]) -> str:
    """The same with any table of a route; its name is derived from `label`."""
    from portico.settings.toml_file import put_table_first, read_toml  # tomlkit takes a MiB of each process

    name = re.sub(r"[^A-Za-z0-9_]+", "-", label).strip("-").lower()
    routes: dict[str, Any] = read_toml(path).get("llm", {}).get("routes", {})
    if routes.get(name) != values or next(iter(routes)) != name:
        put_table_first(path, ("llm", "routes"), name, values)
    return name


class SettingsFile:
    """Tells when `portico.toml` has changed, for a few microseconds a look."""

    def __init__(self, home: Home, config: Path | None = None) -> None:
        self._home = home
        self._config = config
        self._seen = self._stamp()

    def changed(self) -> Settings | None:
        """The settings, once for each change; none while nothing changed or the file cannot be used."""
        stamp = self._stamp()
        if stamp == self._seen:
            return None
        self._seen = stamp
        try:
            return load_settings(self._home, self._config)
        except Misconfigured as error:
            log.warning("settings.not_taken", why=error.message)
            return None

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = settings_path(self._home, self._config).stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
