"""Telegram as a channel: its parts put together."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2

from channels.base import Account, Rates, RawRequest, ReadBlob, Received, Sink
from channels.telegram import api, listen, parse, render, send
from channels.telegram.settings import TelegramSettings
from channels.telegram.wire import UPDATE_KINDS, split_address
from portico.contracts.messages import (
    Attachment,
    Ignored,
    InboundEvent,
    Message,
    NotSent,
    Outgoing,
    Reply,
    Sent,
    Unknown,
)
from portico.errors import NotFound, PorticoError
from portico.logs import logger

log = logger("telegram")


class Telegram:
    """Channel, Listener, Marks, Fetches, Shows and Connects."""

    def __init__(self, *, wait: listen.Wait = asyncio.sleep) -> None:
        self._wait = wait
        self._usernames: dict[int, str] = {}

    def receive(self, request: RawRequest, account: Account) -> Received:
        return parse.receive(request, account)

    def parse(self, event: InboundEvent, account: Account) -> Message | Ignored:
        return parse.parse(event, account, bot_username=self._username(account.settings))

    def render(self, reply: Reply) -> tuple[Outgoing, ...]:
        return render.render(reply)

    def marked(self, outgoing: Outgoing) -> Outgoing:
        return render.marked(outgoing)

    async def send(
        self, outgoing: Outgoing, account: Account, *, key: str, read_blob: ReadBlob | None = None
    ) -> Sent | NotSent | Unknown:
        return await send.send(outgoing, account, read_blob=read_blob)

    def rates(self, account: Account) -> Rates:
        settings = account.settings
        return Rates(settings.rate_per_s, settings.rate_per_chat_per_s, settings.burst)

    async def close(self) -> None:
        await api.clients.close()

    async def fetch(self, attachment: Attachment, account: Account, *, limit_bytes: int) -> bytes:
        if not attachment.platform_ref:
            raise NotFound("the attachment")
        return await api.download(account, attachment.platform_ref, limit_bytes=limit_bytes)

    async def listen(self, account: Account, sink: Sink) -> None:
        await listen.Poller(account, sink, wait=self._wait).run()

    def uses_webhook(self, account: Account, public_url: str) -> bool:
        wanted = account.settings.receive
        return wanted == "webhook" or (wanted == "auto" and bool(public_url))

    async def identify(self, account: Account) -> Account:
        known = await api.ask(account, "getMe", {})
        username = str(known.get("username", "")) if isinstance(known, dict) else ""
        settings: TelegramSettings = account.settings
        self._usernames[settings.bot_id] = username
        named = settings.model_copy(update={"bot_username": username})
        return Account(account.channel, account.name, named, account.network)

    async def connect(self, account: Account, *, public_url: str) -> Account:
        account = await self.identify(account)
        if not self.uses_webhook(account, public_url):
            await api.ask(account, "deleteWebhook", {"drop_pending_updates": False})
            return account
        if not public_url:
            # Whoever says "webhook" without a public URL has set it by hand, behind a tunnel of their own.
            log.info("telegram.webhook_left_alone", account=account.name)
            return account
        hook: dict[str, Any] = {
            "url": f"{public_url.rstrip('/')}/webhooks/telegram/{account.name}",
            "secret_token": account.settings.webhook_secret,
            "allowed_updates": list(UPDATE_KINDS),
            "max_connections": account.settings.max_connections,
        }
        await api.ask(account, "setWebhook", hook)
        return account

    async def typing(self, account: Account, chat: str) -> None:
        chat_id, thread = split_address(chat)
        topic = {} if thread is None else {"message_thread_id": thread}
        await self._show(account, "sendChatAction", {"chat_id": chat_id, "action": "typing", **topic})

    async def acknowledge(self, event: InboundEvent, account: Account) -> None:
        try:
            query = parse.callback_id(event)
        except PorticoError:
            return
        if query:
            await self._show(account, "answerCallbackQuery", {"callback_query_id": query})

    async def _show(self, account: Account, method: str, payload: dict[str, Any]) -> None:
        try:
            await api.call(account, method, payload, limits=api.CONFIGURE_TIMEOUT)
        except (httpx2.HTTPError, PorticoError) as error:
            log.info("telegram.not_shown", account=account.name, method=method, why=type(error).__name__)

    def _username(self, settings: TelegramSettings) -> str:
        return settings.bot_username or self._usernames.get(settings.bot_id, "")


CHANNEL = Telegram()
