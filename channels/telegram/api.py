"""Calls of the Bot API: https://core.telegram.org/bots/api#making-requests

The token is part of the URL, so neither a URL nor an exception of the client goes into a message or a log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
import orjson

from channels.base import Account
from channels.clients import Clients
from portico.errors import Forbidden, Misconfigured, NotFound, TooLarge, Unavailable
from portico.retry_after import retry_after_s

CALL_TIMEOUT = httpx2.Timeout(connect=5.0, write=10.0, read=20.0, pool=5.0)
UPLOAD_TIMEOUT = httpx2.Timeout(connect=5.0, write=60.0, read=60.0, pool=5.0)
CONFIGURE_TIMEOUT = httpx2.Timeout(10.0)

clients = Clients(CALL_TIMEOUT)


@dataclass(frozen=True)
class TelegramResponse:
    """An answer of the Bot API, or of what stands before it (`ok` is None: not the Bot API's JSON)."""

    status: int
    ok: bool | None = None
    result: Any = None
    description: str = ""
    retry_after_s: float | None = None
    new_chat: int | None = None


@dataclass(frozen=True)
class Upload:
    """A file that travels with a call, in the form field of the given name."""

    field: str
    name: str
    media_type: str
    content: bytes


async def call(
    account: Account,
    method: str,
    payload: Mapping[str, Any],
    *,
    upload: Upload | None = None,
    limits: httpx2.Timeout | None = None,
) -> TelegramResponse:
    """One call. Raises what the client raises, and `Forbidden` where the guard refuses the address."""
    url = f"{account.settings.api_base}/bot{account.settings.token.get_secret_value()}/{method}"
    limits = limits or CALL_TIMEOUT
    if upload is None:
        answer = await clients.poster(account).post(
            url, content=orjson.dumps(payload), headers={"content-type": "application/json"}, limits=limits
        )
        return _read(answer.status, answer.content)
    files = {upload.field: (upload.name or upload.field, upload.content, upload.media_type)}
    response = await clients.of(account).post(url, data=_form(payload), files=files, timeout=limits)
    return _read(response.status_code, response.content)


async def ask(account: Account, method: str, payload: Mapping[str, Any]) -> Any:
    """A call that changes no conversation: its result, or `Misconfigured`, `Unavailable`."""
    try:
        answer = await call(account, method, payload, limits=CONFIGURE_TIMEOUT)
    except Forbidden as error:
        raise Misconfigured(f"channels.telegram.{account.name}: api_base: {error.message}") from None
    except httpx2.HTTPError as error:
        raise Unavailable("Telegram", type(error).__name__) from None
    if answer.ok:
        return answer.result
    if answer.status in (401, 404):
        raise Misconfigured(bad_token(account))
    if answer.status == 429 or answer.status >= 500:
        raise Unavailable("Telegram", f"status {answer.status}", retry_after_s=answer.retry_after_s)
    raise Misconfigured(f"channels.telegram.{account.name}: {method} was refused: {answer.description}")


async def download(account: Account, file_id: str, *, limit_bytes: int) -> bytes:
    """The content of a file. Raises `NotFound`, `TooLarge` or `Unavailable`."""
    try:
        answer = await call(account, "getFile", {"file_id": file_id})
        if not answer.ok or not isinstance(answer.result, dict) or not answer.result.get("file_path"):
            raise _no_file(answer)
        base = f"{account.settings.api_base}/file/bot{account.settings.token.get_secret_value()}"
        async with clients.of(account).stream("GET", f"{base}/{answer.result['file_path']}") as response:
            if response.status_code != 200:
                raise _no_file(TelegramResponse(response.status_code))
            return await _limited(response, limit_bytes)
    except Forbidden as error:
        raise Unavailable("Telegram", error.message) from None
    except httpx2.HTTPError as error:
        raise Unavailable("Telegram", type(error).__name__) from None


def bad_token(account: Account) -> str:
    where = f"channels.telegram.{account.name}"
    return f"{where}: Telegram does not know this token; ask @BotFather for the right one"


async def _limited(response: httpx2.Response, limit_bytes: int) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > limit_bytes:
            raise TooLarge("the attachment", limit_bytes=limit_bytes)
    return bytes(content)


def _no_file(answer: TelegramResponse) -> NotFound | Unavailable | TooLarge:
    if answer.status == 429 or answer.status >= 500 or (answer.ok is None and answer.status == 200):
        return Unavailable("Telegram", f"status {answer.status}", retry_after_s=answer.retry_after_s)
    if "too big" in answer.description:  # the Bot API gives no code of its own for its limit
        return TooLarge("the attachment", limit_bytes=20 * 1024 * 1024)
    return NotFound("the attachment")


def _form(payload: Mapping[str, Any]) -> dict[str, str]:
    return {
        key: value if isinstance(value, str) else orjson.dumps(value).decode()
        for key, value in payload.items()
    }


def _read(status: int, content: bytes) -> TelegramResponse:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return TelegramResponse(status)
    if not isinstance(body, dict) or not isinstance(body.get("ok"), bool):
        return TelegramResponse(status)
    given = body.get("parameters")
    parameters: dict[str, Any] = given if isinstance(given, dict) else {}
    wait = parameters.get("retry_after")
    moved = parameters.get("migrate_to_chat_id")
    return TelegramResponse(
        status=status,
        ok=body["ok"],
        result=body.get("result"),
        description=str(body.get("description", ""))[:200],
        retry_after_s=retry_after_s(wait),
        new_chat=moved if isinstance(moved, int) else None,
    )
