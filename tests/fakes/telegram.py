"""A scripted Bot API that keeps the documented rules and records what it was asked.

    with FakeTelegram() as telegram:                     # telegram.url is the api_base
        telegram.script("sendMessage", too_many(2), drop(), status(502))
        telegram.deliver(webhook_url, telegram.text("hello", chat=7))
        telegram.wait_for_messages(1)[0].text

`calls` holds every call as it arrived, `messages` what people would see (a dropped connection may have
delivered).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.server import FakeServer, Step, delay, drop, status
from tests.fakes.telegram_html import visible

__all__ = ["Call", "FakeTelegram", "Sent", "delay", "drop", "refuse", "status", "too_many"]

TOKEN = "7001:fake-token-of-the-tests"
TEXT_LIMIT = 4096


def too_many(retry_after_s: int) -> Step:
    """429 with `retry_after`, as Telegram gives it."""
    description = f"Too Many Requests: retry after {retry_after_s}"
    return Step(status=429, body=_error(429, description, retry_after=retry_after_s))


def refuse(code: int, description: str, **parameters: Any) -> Step:
    return Step(status=code, body=_error(code, description, **parameters))


@dataclass(frozen=True)
class Call:
    """`at` is `time.monotonic()` on arrival, `peer` the port that the caller's connection came from."""

    method: str
    payload: dict[str, Any]
    at: float
    peer: int
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Sent:
    """A message that a person sees."""

    message_id: int
    chat: str
    text: str
    at: float
    payload: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)


class FakeTelegram(FakeServer):
    def __init__(self, *, token: str = TOKEN, username: str = "portico_test_bot", port: int = 0) -> None:
        super().__init__(port=port)
        self.token = token
        self.username = username
        self.calls: list[Call] = []
        self.messages: list[Sent] = []
        self.webhook: dict[str, Any] = {}
        self.pending: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self._update_ids = itertools.count(1000)
        self._message_ids = itertools.count(1)
        self._sent_ids = itertools.count(100_000)
        self._polling = 0

    # --- what people do -----------------------------------------------------------------------------

    def text(self, text: str, *, chat: int = 42, sender: int | None = None, **more: Any) -> dict[str, Any]:
        """An update with a private text message."""
        message = {
            "message_id": next(self._message_ids),
            "date": int(time.time()),
            "chat": {"id": chat, "type": "private", "first_name": "Ada"},
            "from": {"id": sender or chat, "is_bot": False, "first_name": "Ada", "language_code": "en"},
            "text": text,
            **more,
        }
        return {"update_id": next(self._update_ids), "message": message}

    def press(self, data: str, *, chat: int = 42, message: dict[str, Any] | None = None) -> dict[str, Any]:
        """An update with the press of a button."""
        shown = message or {"message_id": next(self._sent_ids), "date": int(time.time()), "text": "?"}
        query = {
            "id": f"query-{next(self._message_ids)}",
            "from": {"id": chat, "is_bot": False, "first_name": "Ada"},
            "message": {"chat": {"id": chat, "type": "private"}, **shown},
            "data": data,
        }
        return {"update_id": next(self._update_ids), "callback_query": query}

    def push(self, *updates: dict[str, Any]) -> None:
        """Queue updates for getUpdates."""
        with self._changed:
            self.pending += updates
            self._changed.notify_all()

    def deliver(
        self, url: str, update: dict[str, Any] | bytes, *, secret: str | None = None, timeout_s: float = 30
    ) -> int:
        """POST an update to a webhook, with the secret that `setWebhook` gave. Returns the status."""
        body = update if isinstance(update, bytes) else json.dumps(update).encode()
        headers = {"content-type": "application/json"}
        given = self.webhook.get("secret_token") if secret is None else secret
        if given:
            headers["X-Telegram-Bot-Api-Secret-Token"] = given
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout_s) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def add_file(self, file_id: str, content: bytes) -> None:
        self.files[file_id] = content

    # --- what tests ask -----------------------------------------------------------------------------

    def called(self, method: str) -> list[Call]:
        return [call for call in list(self.calls) if call.method == method]

    def texts(self, chat: int | str | None = None) -> list[str]:
        return [one.text for one in list(self.messages) if chat is None or one.chat == str(chat)]

    def wait_for_messages(
        self, count: int, *, chat: int | str | None = None, timeout_s: float = 10
    ) -> list[Sent]:
        def enough() -> list[Sent]:
            found = [one for one in self.messages if chat is None or one.chat == str(chat)]
            return found if len(found) >= count else []

        found: list[Sent] = self.wait_until(enough, timeout_s=timeout_s, what=f"{count} messages")
        return found

    def wait_for_calls(self, method: str, count: int = 1, *, timeout_s: float = 10) -> list[Call]:
        def enough() -> list[Call]:
            found = self.called(method)
            return found if len(found) >= count else []

        found: list[Call] = self.wait_until(enough, timeout_s=timeout_s, what=f"{count} calls of {method}")
        return found

    # --- the server ---------------------------------------------------------------------------------

    def routes(self, app: web.Application) -> None:
        app.router.add_route("*", "/bot{token}/{method}", self._call)
        app.router.add_get("/file/bot{token}/{path:.*}", self._file)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        content = self.files.get(request.match_info["path"].removeprefix("files/"))
        if request.match_info["token"] != self.token or content is None:
            return _answer(_error(404, "Not Found"))
        return web.Response(body=content)

    async def _call(self, request: web.Request) -> web.StreamResponse:
        at = time.monotonic()
        method = request.match_info["method"]
        if request.match_info["token"] != self.token:
            return _answer(_error(401, "Unauthorized"))
        payload, files = await _payload(request)
        with self._changed:
            self.calls.append(Call(method, payload, at, _peer(request), files))
            self._changed.notify_all()
        step = self.next_step(method)
        if step is not None and step.delay_s:
            await asyncio.sleep(step.delay_s)
        usual = _error(404, "Not Found")
        if step is None or step.taken:
            usual = await self._usual(method, payload, files, at)
        if step is not None and step.drop:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if step is not None and step.status is not None:
            return _scripted(step)
        return _answer(usual)

    async def _usual(
        self, method: str, payload: dict[str, Any], files: dict[str, bytes], at: float
    ) -> dict[str, Any]:
        match method:
            case "getMe":
                return _ok(
                    {
                        "id": int(self.token.split(":")[0]),
                        "is_bot": True,
                        "first_name": "Portico",
                        "username": self.username,
                        "can_join_groups": True,
                    }
                )
            case "getUpdates":
                return await self._get_updates(payload)
            case "setWebhook":
                self.webhook = dict(payload) if payload.get("url") else {}
                return _ok(True)
            case "deleteWebhook":
                self.webhook = {}
                return _ok(True)
            case "getWebhookInfo":
                return _ok({"url": self.webhook.get("url", ""), "pending_update_count": len(self.pending)})
            case "getFile":
                return self._get_file(payload)
            case "sendChatAction" | "answerCallbackQuery" | "setMyCommands":
                needed = "callback_query_id" if method.startswith("answer") else "chat_id"
                missing = method != "setMyCommands" and needed not in payload
                return _error(400, f"Bad Request: {needed} is empty") if missing else _ok(True)
            case "sendMessage" | "sendPhoto" | "sendDocument":
                return self._send(method, payload, files, at)
        return _error(404, "Not Found")

    def _get_file(self, payload: dict[str, Any]) -> dict[str, Any]:
        file_id = str(payload.get("file_id", ""))
        if file_id not in self.files:
            return _error(400, "Bad Request: wrong file_id or the file is temporarily unavailable")
        return _ok(
            {"file_id": file_id, "file_size": len(self.files[file_id]), "file_path": f"files/{file_id}"}
        )

    async def _get_updates(self, payload: dict[str, Any]) -> dict[str, Any]:
        if self.webhook:
            return _error(
                409, "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook"
            )
        self._polling += 1
        mine = self._polling
        offset = int(payload.get("offset") or 0)
        deadline = time.monotonic() + float(payload.get("timeout") or 0)
        while True:
            if offset > 0:
                self.pending = [update for update in self.pending if update["update_id"] >= offset]
            if self.pending:
                return _ok(self.pending[: int(payload.get("limit") or 100)])
            if mine != self._polling:
                return _error(409, "Conflict: terminated by other getUpdates request")
            if time.monotonic() >= deadline:
                return _ok([])
            await asyncio.sleep(0.02)

    def _send(
        self, method: str, payload: dict[str, Any], files: dict[str, bytes], at: float
    ) -> dict[str, Any]:
        mistake = self._mistake(method, payload, files)
        if mistake:
            return _error(400, f"Bad Request: {mistake}")
        text = str(payload.get("text") or payload.get("caption") or "")
        if payload.get("parse_mode") == "HTML":
            text = visible(text)[0]
        thread = payload.get("message_thread_id")
        chat = f"{payload['chat_id']}:{thread}" if thread is not None else str(payload["chat_id"])
        sent = Sent(next(self._sent_ids), chat, text, at, payload, files)
        with self._changed:
            self.messages.append(sent)
            self._changed.notify_all()
        return _ok(
            {
                "message_id": sent.message_id,
                "date": int(time.time()),
                "text": text,
                "chat": {"id": payload["chat_id"], "type": "private"},
            }
        )

    def _mistake(self, method: str, payload: dict[str, Any], files: dict[str, bytes]) -> str:
        if not payload.get("chat_id"):
            return "chat_id is empty"
        if method != "sendMessage":
            field = method.removeprefix("send").lower()
            return "" if field in files or payload.get(field) else f"there is no {field} in the request"
        text = str(payload.get("text") or "")
        if payload.get("parse_mode") == "HTML":
            text, wrong = visible(text)
            if wrong:
                return f"can't parse entities: {wrong}"
        if not text.strip():
            return "message text is empty"
        if len(text.encode("utf-16-le")) // 2 > TEXT_LIMIT:
            return "message is too long"
        return _keyboard_mistake(payload) or self._reply_mistake(payload)

    def _reply_mistake(self, payload: dict[str, Any]) -> str:
        reply = payload.get("reply_parameters") or {}
        known = (
            reply.get("allow_sending_without_reply")
            or not reply
            or any(sent.message_id == reply.get("message_id") for sent in self.messages)
        )
        return "" if known else "message to be replied not found"


def _keyboard_mistake(payload: dict[str, Any]) -> str:
    for row in (payload.get("reply_markup") or {}).get("inline_keyboard", []):
        for button in row:
            if not button.get("text"):
                return "text buttons are unallowed in the inline keyboard"
            if not 1 <= len(str(button.get("callback_data", "")).encode()) <= 64:
                return "BUTTON_DATA_INVALID"
    return ""


def _peer(request: web.Request) -> int:
    name = request.transport.get_extra_info("peername") if request.transport else None
    return int(name[1]) if name else 0


async def _payload(request: web.Request) -> tuple[dict[str, Any], dict[str, bytes]]:
    kind = request.content_type
    if kind == "application/json":
        body = await request.json()
        return (body if isinstance(body, dict) else {}), {}
    payload: dict[str, Any] = dict(request.query)
    files: dict[str, bytes] = {}
    for name, value in (await request.post()).items():
        if isinstance(value, web.FileField):
            files[name] = value.file.read()
        else:
            payload[name] = _loaded(str(value))
    return payload, files


def _loaded(text: str) -> Any:
    try:
        return json.loads(text) if text[:1] in "{[" or text.lstrip("-").isdigit() else text
    except ValueError:
        return text


def _ok(result: Any) -> dict[str, Any]:
    return {"ok": True, "result": result}


def _error(code: int, description: str, **parameters: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"ok": False, "error_code": code, "description": description}
    return {**body, "parameters": parameters} if parameters else body


def _answer(body: dict[str, Any]) -> web.Response:
    return web.json_response(body, status=200 if body["ok"] else body["error_code"])


def _scripted(step: Step) -> web.Response:
    code = step.status or 200
    if step.body is None and code >= 500:
        return web.Response(status=code, text="<html>Bad Gateway</html>", content_type="text/html")
    body = step.body if step.body is not None else _error(code, "scripted")
    return web.json_response(body, status=code, headers=step.headers)
