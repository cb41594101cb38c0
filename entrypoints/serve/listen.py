"""Channels that ask instead of being called: one holder an account, by a lease in the database."""

from __future__ import annotations

import asyncio
import os
import socket
import time

from api.intake import Intake
from channels.base import Account, Connects, Listener
from channels.registry import Accounts, load
from portico.contracts.messages import InboundEvent
from portico.errors import Misconfigured, PorticoError, Unavailable
from portico.logs import logger
from portico.settings.settings import Settings
from portico.storage.leases import Leases

LEASE_S = 30.0
RENEW_S = 10.0
RETRY_S = 5.0

log = logger("listen")


class Listening:
    """Connects every account to its platform: by webhook where there is a public URL, else by listening."""

    def __init__(self, accounts: Accounts, settings: Settings, intake: Intake, leases: Leases) -> None:
        self._accounts = accounts
        self._public_url = settings.public_url
        self._intake = intake
        self._leases = leases
        self._holder = f"{socket.gethostname()}:{os.getpid()}"
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._keep(account)) for account in self._accounts]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for account in self._accounts:
            await self._leases.release(_lease_of(account), self._holder)

    async def _keep(self, account: Account) -> None:
        """Until cancelled: connect, then listen, again after every failure that may pass."""
        channel = load(account.channel)
        if not isinstance(channel, Connects):
            return
        while True:
            try:
                connected = await channel.connect(account, public_url=self._public_url)
                if channel.uses_webhook(account, self._public_url):
                    log.info("channel.webhook", channel=account.channel, account=account.name)
                    return
                await self._listen(channel, connected)
            except Misconfigured as error:
                log.error(
                    "channel.misconfigured", channel=account.channel, account=account.name, why=error.message
                )
                return
            except PorticoError as error:
                log.warning("channel.away", channel=account.channel, account=account.name, why=error.message)
            await asyncio.sleep(RETRY_S)

    async def _listen(self, channel: object, account: Account) -> None:
        """Hold the lease and listen; another process that holds it is waited for."""
        if not isinstance(channel, Listener):
            return
        while not await self._leases.acquire(  # noqa: ASYNC110 - another process holds it
            _lease_of(account), self._holder, LEASE_S, time.time()
        ):
            await asyncio.sleep(RENEW_S)
        log.info("channel.listening", channel=account.channel, account=account.name)
        listening = asyncio.create_task(channel.listen(account, self._sink))
        try:
            while not listening.done():
                await asyncio.wait([listening], timeout=RENEW_S)
                if not await self._leases.acquire(_lease_of(account), self._holder, LEASE_S, time.time()):
                    raise Unavailable(account.channel, "another process holds the lease")
            await listening
        finally:
            listening.cancel()

    async def _sink(self, events: tuple[InboundEvent, ...]) -> None:
        await self._intake.store_all(events)


def _lease_of(account: Account) -> str:
    return f"listen:{account.channel}:{account.name}"
