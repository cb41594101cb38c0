"""HTTP clients kept open for channels: for each account one of each kind, in each event loop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import httpx2

from channels.base import Account
from portico.egress import guard
from portico.egress.posts import Poster

_Loop = asyncio.AbstractEventLoop
_Key = tuple[str, str, guard.Network]

NOT_WRITTEN = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
"""What both kinds raise before the first byte of a request was written."""


@dataclass
class _OpenClient:
    clients: dict[_Key, httpx2.AsyncClient] = field(default_factory=dict)
    posters: dict[_Key, Poster] = field(default_factory=dict)


class Clients:
    """Gives an account's client, making it on first use."""

    def __init__(self, timeout: httpx2.Timeout, *, keepalive_s: float = guard.KEEPALIVE_S) -> None:
        self._timeout = timeout
        self._keepalive_s = keepalive_s
        self._open: WeakKeyDictionary[_Loop, _OpenClient] = WeakKeyDictionary()

    def of(self, account: Account) -> httpx2.AsyncClient:
        """For everything: downloads, uploads, streams."""
        clients = self._here().clients
        key = (account.channel, account.name, account.network)
        if key not in clients:
            clients[key] = guard.client(account.network, timeout=self._timeout)
        return clients[key]

    def poster(self, account: Account) -> Poster:
        """For the calls that every turn makes."""
        posters = self._here().posters
        key = (account.channel, account.name, account.network)
        if key not in posters:
            posters[key] = Poster(account.network, timeout=self._timeout, keepalive_s=self._keepalive_s)
        return posters[key]

    async def close(self) -> None:
        """Close the clients of the running loop."""
        here = self._open.pop(asyncio.get_running_loop(), _OpenClient())
        for client in here.clients.values():
            await client.aclose()
        for poster in here.posters.values():
            await poster.aclose()

    def _here(self) -> _OpenClient:
        return self._open.setdefault(asyncio.get_running_loop(), _OpenClient())
