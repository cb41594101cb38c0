"""Telegram without a webhook: long polling, for machines without a public address.

The offset moves only after `sink` has returned, and Telegram forgets an update only when it is asked for
later ones: so a crash repeats updates and loses none, and no cursor has to be kept here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx2

from channels.base import Account, Sink
from channels.telegram import api
from channels.telegram.parse import received
from channels.telegram.wire import UPDATE_KINDS
from portico.contracts.messages import InboundEvent
from portico.errors import Forbidden, Misconfigured, PorticoError, Unavailable, Unreadable
from portico.logs import logger

log = logger("telegram")

POLL_S = 25
POLL_TIMEOUT = httpx2.Timeout(connect=5.0, write=10.0, read=POLL_S + 10.0, pool=5.0)
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0

Wait = Callable[[float], Awaitable[None]]


class Poller:
    """Asks for one account's updates until it is cancelled."""

    def __init__(self, account: Account, sink: Sink, *, wait: Wait) -> None:
        self._account = account
        self._sink = sink
        self._wait = wait
        self._offset = 0
        self._failures = 0

    async def run(self) -> None:
        while True:
            try:
                await api.ask(self._account, "deleteWebhook", {"drop_pending_updates": False})
                break
            except (Unavailable, Misconfigured) as error:
                await self._back_off(error.code, retry_after_s=getattr(error, "retry_after_s", None))
        while True:
            await self._round()

    async def _round(self) -> None:
        updates = await self._ask()
        if updates is None:
            return
        try:
            done = await self._hand_over(updates)
        except PorticoError:
            # One update is refused for good. Alone, each of the others gets through.
            for update in updates:
                if not await self._hand_over_alone(update):
                    return
        else:
            if not done:
                return
            self._moved_past(updates)
        self._failures = 0

    async def _ask(self) -> list[Any] | None:
        asked = {"offset": self._offset, "timeout": POLL_S, "allowed_updates": list(UPDATE_KINDS)}
        try:
            answer = await api.call(self._account, "getUpdates", asked, limits=POLL_TIMEOUT)
        except (httpx2.HTTPError, Forbidden) as error:
            await self._back_off(type(error).__name__)
            return None
        if answer.ok and isinstance(answer.result, list):
            return answer.result
        await self._refused(answer)
        return None

    async def _refused(self, answer: api.TelegramResponse) -> None:
        if answer.status == 409:
            log.error(
                "telegram.polled_elsewhere", account=self._account.name, hint="another poller or a webhook"
            )
        elif answer.status in (401, 404):
            log.error("telegram.bad_token", account=self._account.name)
        await self._back_off(f"status {answer.status}", retry_after_s=answer.retry_after_s)

    async def _hand_over(self, updates: list[Any]) -> bool:
        """Whether all are stored. Together, so that conversations do not wait for each other."""
        events = tuple(event for update in updates for event in self._events(update))
        try:
            if events:
                await self._sink(events)
        except PorticoError as error:
            if not error.retryable:
                raise
            await self._back_off(error.code, retry_after_s=getattr(error, "retry_after_s", None))
            return False
        return True

    async def _hand_over_alone(self, update: Any) -> bool:
        try:
            if not await self._hand_over([update]):
                return False
        except PorticoError as error:
            log.error(
                "telegram.update_refused", account=self._account.name, update_id=_id(update), code=error.code
            )
        self._moved_past([update])
        return True

    def _events(self, update: Any) -> tuple[InboundEvent, ...]:
        try:
            return received(update, self._account).events
        except Unreadable:
            log.warning("telegram.unreadable_update", account=self._account.name, update_id=_id(update))
            return ()

    def _moved_past(self, updates: list[Any]) -> None:
        self._offset = max([self._offset, *(_id(update) + 1 for update in updates)])

    async def _back_off(self, why: str, *, retry_after_s: float | None = None) -> None:
        self._failures += 1
        wait_s = min(FIRST_WAIT_S * 2 ** min(self._failures - 1, 10), LONGEST_WAIT_S)
        log.warning(
            "telegram.poll_waits", account=self._account.name, why=why, wait_s=retry_after_s or wait_s
        )
        await self._wait(retry_after_s or wait_s)


def _id(update: Any) -> int:
    value = update.get("update_id") if isinstance(update, dict) else None
    return value if isinstance(value, int) else 0
