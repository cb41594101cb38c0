"""Telegram's way out, second half: one call, and an honest word about its end.

Telegram knows no idempotency key. So what may have been written is `Unknown`, and only what the Bot API
itself refused, or what never left, is `NotSent`.
"""

from __future__ import annotations

from typing import Any

import httpx2

from channels.base import Account, ReadBlob
from channels.clients import NOT_WRITTEN
from channels.telegram import api
from channels.telegram.api import TelegramResponse, Upload
from channels.telegram.render import unformatted
from channels.telegram.wire import split_address
from portico.contracts.messages import BlobRef, NotSent, Outgoing, Sent, Unknown
from portico.errors import Forbidden, NotFound, Unavailable
from portico.logs import logger

log = logger("telegram")

Outcome = Sent | NotSent | Unknown


async def send(outgoing: Outgoing, account: Account, *, read_blob: ReadBlob | None) -> Outcome:
    payload = _addressed(outgoing)
    try:
        upload = await _upload(payload.pop("file", None), read_blob)
    except Unavailable as error:
        return NotSent(reason=error.message)
    except NotFound as error:
        return NotSent(reason=error.message, permanent=True)
    outcome = await _attempt(outgoing.method, payload, account, upload)
    if not isinstance(outcome, TelegramResponse):
        return outcome
    changed = _mended(outcome, payload)
    if changed is not None:
        # A 400 is a definite refusal, so this second call cannot make a second message.
        log.info("telegram.sent_changed", account=account.name, status=outcome.status)
        second = await _attempt(outgoing.method, changed, account, upload)
        return second if not isinstance(second, TelegramResponse) else _refused(second, account)
    return _refused(outcome, account)


async def _attempt(
    method: str, payload: dict[str, Any], account: Account, upload: Upload | None
) -> Outcome | TelegramResponse:
    """The end of one call; an `Answer` where Telegram refused it."""
    limits = api.UPLOAD_TIMEOUT if upload else api.CALL_TIMEOUT
    try:
        answer = await api.call(account, method, payload, upload=upload, limits=limits)
    except Forbidden as error:
        return NotSent(reason=f"channels.telegram.{account.name}: api_base: {error.message}", permanent=True)
    except NOT_WRITTEN as error:
        return NotSent(reason=f"not connected: {type(error).__name__}")
    except (httpx2.HTTPError, httpx2.StreamError) as error:
        return Unknown(reason=f"connection lost after writing: {type(error).__name__}")
    if answer.ok and answer.status == 200:
        return Sent(platform_id=_message_id(answer.result))
    if answer.status >= 500 or answer.status < 300:
        return Unknown(reason=f"status {answer.status}")
    return answer


def _refused(answer: TelegramResponse, account: Account) -> NotSent:
    if answer.status == 429:
        return NotSent(reason="status 429", retry_after_s=answer.retry_after_s)
    if answer.status in (401, 404):
        return NotSent(reason=api.bad_token(account), permanent=True)
    return NotSent(reason=f"status {answer.status}: {answer.description}".rstrip(": "), permanent=True)


def _mended(answer: TelegramResponse, payload: dict[str, Any]) -> dict[str, Any] | None:
    """The call in the form that Telegram asks for, where its refusal says so."""
    if answer.status != 400:
        return None
    if answer.new_chat is not None:
        return {**payload, "chat_id": answer.new_chat}
    if payload.get("parse_mode") and "parse entities" in answer.description:
        return unformatted(payload)
    return None


def _addressed(outgoing: Outgoing) -> dict[str, Any]:
    chat_id, thread = split_address(outgoing.chat)
    payload = {**outgoing.payload, "chat_id": chat_id}
    if thread is not None:
        payload["message_thread_id"] = thread
    return payload


async def _upload(file: Any, read_blob: ReadBlob | None) -> Upload | None:
    if not file:
        return None
    if read_blob is None:
        raise NotFound("the content of the file")
    content = await read_blob(BlobRef.model_validate(file["blob"]))
    return Upload(field=file["field"], name=file["name"], media_type=file["media_type"], content=content)


def _message_id(result: Any) -> str:
    return str(result.get("message_id", "")) if isinstance(result, dict) else ""
