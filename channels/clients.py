"""HTTP clients kept open for channels: one for each account, in each event loop."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

import httpx2

from channels.base import Account
from portico import egress

_Loop = asyncio.AbstractEventLoop


class Clients:
    """Gives an account's client, making it on first use."""

    def __init__(self, timeout: httpx2.Timeout) -> None:
        self._timeout = timeout
        self._open: WeakKeyDictionary[_Loop, dict[tuple[str, str, egress.Network], httpx2.AsyncClient]]
        self._open = WeakKeyDictionary()

    def of(self, account: Account) -> httpx2.AsyncClient:
        here = self._open.setdefault(asyncio.get_running_loop(), {})
        key = (account.channel, account.name, account.network)
        if key not in here:
            here[key] = egress.client(account.network, timeout=self._timeout)
        return here[key]

    async def close(self) -> None:
        """Close the clients of the running loop."""
        for client in self._open.pop(asyncio.get_running_loop(), {}).values():
            await client.aclose()
