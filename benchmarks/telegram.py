"""A Bot API that answers at once and tells when a message arrived; and Telegram's side of the webhooks."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import aiohttp
from aiohttp import web

TOKEN = "123456:benchmark"
SECRET = "benchmark-secret"


class BotApi:
    """Records when `sendMessage` of a chat arrived. Runs in the load generator's own loop."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host, self._port = host, port
        self.received = 0
        self._waiting: dict[str, asyncio.Future[float]] = {}
        self._ids = itertools.count(1)

    async def __aenter__(self) -> BotApi:
        app = web.Application()
        app.router.add_post("/bot{token}/{method}", self._call)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def expect(self, chat: int) -> asyncio.Future[float]:
        """Resolves to the moment when the next message to this chat arrives."""
        future = self._waiting[str(chat)] = asyncio.get_running_loop().create_future()
        return future

    async def _call(self, request: web.Request) -> web.Response:
        arrived = time.perf_counter()
        payload: dict[str, Any] = await request.json()
        if request.match_info["method"] != "sendMessage":
            return web.json_response(
                {"ok": True, "result": {"id": 1, "is_bot": True, "username": "bench_bot"}}
            )
        self.received += 1
        waiting = self._waiting.pop(str(payload["chat_id"]), None)
        if waiting is not None and not waiting.done():
            waiting.set_result(arrived)
        chat = {"id": payload["chat_id"], "type": "private"}
        return web.json_response(
            {"ok": True, "result": {"message_id": next(self._ids), "date": 0, "chat": chat}}
        )


class Platform:
    """Sends updates as Telegram does and waits for the bot's answer."""

    def __init__(self, session: aiohttp.ClientSession, webhook: str, bot: BotApi) -> None:
        self._session = session
        self._webhook = webhook
        self._bot = bot
        self._updates = itertools.count(int(time.time() * 1000))
        self.acks_s: list[float] = []

    async def turn(self, chat: int, text: str) -> float:
        """Seconds from sending the update to the arrival of `sendMessage`."""
        answered = self._bot.expect(chat)
        started = time.perf_counter()
        status = await self.post(self.update(chat, text), SECRET)
        self.acks_s.append(time.perf_counter() - started)
        assert status == 200, status
        return await answered - started

    async def post(self, update: dict[str, Any], secret: str) -> int:
        headers = {"X-Telegram-Bot-Api-Secret-Token": secret}
        async with self._session.post(self._webhook, json=update, headers=headers) as answer:
            await answer.read()
            return answer.status

    def update(self, chat: int, text: str) -> dict[str, Any]:
        number = next(self._updates)
        person = {"id": chat, "is_bot": False, "first_name": "Bench", "language_code": "en"}
        return {
            "update_id": number,
            "message": {
                "message_id": number % 1_000_000,
                "date": int(time.time()),
                "chat": {"id": chat, "type": "private", "first_name": "Bench"},
                "from": person,
                "text": text,
            },
        }
