"""Shows people on a platform that work is going on, where it can. Best effort, never waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from channels.base import Shows
from channels.facts import LIVE
from channels.registry import Accounts, load
from portico.contracts.messages import ConversationRef
from portico.errors import PorticoError

FIRST_AFTER_S = 0.5
"""What is done sooner needs no announcement, and no call of the platform."""
AGAIN_S = 4.5
"""Telegram shows it for five seconds."""


class Presence:
    """Who is typing."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    @asynccontextmanager
    async def typing(self, conversation: ConversationRef | None) -> AsyncIterator[None]:
        """For as long as the block lasts. Its end waits for nothing."""
        if conversation is None or conversation.channel in LIVE:
            yield
            return
        showing = asyncio.create_task(self._show(conversation))
        try:
            yield
        finally:
            showing.cancel()

    async def _show(self, conversation: ConversationRef) -> None:
        channel = load(conversation.channel)
        if not isinstance(channel, Shows):
            return
        try:
            account = self._accounts.get(conversation.channel, conversation.account)
        except PorticoError:
            return
        await asyncio.sleep(FIRST_AFTER_S)
        while True:
            await channel.typing(account, conversation.chat)
            await asyncio.sleep(AGAIN_S)
