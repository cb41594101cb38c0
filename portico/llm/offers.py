"""The models that are used and those that could be, for a process that runs on while both change."""

from __future__ import annotations

import asyncio
import time

from portico.errors import NotFound
from portico.llm.adopt import SettingsFile, adopt
from portico.llm.detect import Offer, find_models, places
from portico.settings.connections import part_address
from portico.settings.home import Home
from portico.settings.load import settings_path
from portico.settings.models import RouteSettings
from portico.settings.settings import Settings

LOOK_AGAIN_S = 5.0
"""However many pages ask, the machine's ports are knocked at no more often."""


class ModelOffers:
    """One object for a process and event loop."""

    def __init__(self, home: Home, settings: Settings) -> None:
        self._home = home
        self._settings = settings
        self._file = SettingsFile(home)
        self._look_lock = asyncio.Lock()
        self._write_lock = asyncio.Lock()
        self._found: tuple[Offer, ...] = ()
        self._looked_at = float("-inf")

    def routes(self) -> dict[str, RouteSettings]:
        """The routes as `portico.toml` has them now, first choice first."""
        self._settings = self._file.changed() or self._settings
        return self._settings.llm.routes

    async def offers(self) -> tuple[Offer, ...]:
        """What was found a few seconds ago at most and is not used. Takes 300 ms at most.

        Nothing where looking is switched off.
        """
        used = {(route.base_url, route.model) for route in self.routes().values()}
        found = await self._look(LOOK_AGAIN_S) if self._settings.models.detect else ()
        return tuple(offer for offer in found if (offer.base_url, offer.model) not in used)

    async def use(self, name: str) -> tuple[Offer, str]:
        """Make the model the first route; the offer and the route's name. A person has said so.

        Raises `NotFound` where it is not offered right now, `Misconfigured` where the file cannot be written.
        """
        wanted = name.removesuffix(":latest")
        offer = next((offer for offer in await self._look(0) if offer.name == wanted), None)
        if offer is None:
            raise NotFound(f"model {name!r} among those that answer on this machine")
        async with self._write_lock:
            return offer, await asyncio.to_thread(adopt, settings_path(self._home), offer)

    async def _look(self, no_older_than_s: float) -> tuple[Offer, ...]:
        asked_at = time.monotonic()
        async with self._look_lock:
            # Whoever waited for another's look takes what that one found.
            if self._looked_at < asked_at - no_older_than_s:
                begun = time.monotonic()
                self._found = await find_models(
                    skip_ports=self._own_ports(), servers=places(self._settings.models.ports)
                )
                self._looked_at = begun
        return self._found

    def _own_ports(self) -> frozenset[int]:
        ours = {self._settings.port, self._settings.grpc_port}
        if edge := part_address(self._home, "api"):
            ours.add(int(edge.rpartition(":")[2]))
        return frozenset(ours)
