"""Telegram's way in: a verified update becomes an event, and an event a message."""

from __future__ import annotations

import hmac
import time
from typing import Any

import orjson
from pydantic import ValidationError

from channels.base import Account, RawRequest, Received
from channels.telegram.settings import TelegramSettings
from channels.telegram.wire import (
    CallbackQuery,
    Entity,
    TelegramFile,
    TelegramMessage,
    User,
    read_address,
    read_update,
)
from channels.text import COMMAND
from portico.contracts.messages import Attachment, Ignored, InboundEvent, Message, MessageKind, Sender
from portico.errors import Refused, Unreadable
from portico.ids import ascii_key

SECRET_HEADER = "x-telegram-bot-api-secret-token"
LABEL_DATA = "label:"
"""Marks callback data that stands for a value too long to travel; the button's label is read instead."""

_MEDIA_TYPES = {
    "photo": "image/jpeg",
    "voice": "audio/ogg",
    "audio": "audio/mpeg",
    "document": "application/octet-stream",
    "video": "video/mp4",
    "video_note": "video/mp4",
    "animation": "video/mp4",
    "sticker": "image/webp",
}
_WITHOUT_FILE = ("venue", "location", "contact", "poll", "dice", "story")


def receive(request: RawRequest, account: Account) -> Received:
    given = request.headers.get(SECRET_HEADER, "").encode("utf-8", "surrogateescape")
    if not hmac.compare_digest(given, account.settings.webhook_secret.encode()):
        raise Refused("telegram_secret")
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        raise Unreadable("the update", "not JSON") from None
    return received(body, account)


def received(body: object, account: Account) -> Received:
    """What one update holds for us, by webhook or by polling. Its message is read later, by `parse`."""
    if not isinstance(body, dict) or type(body.get("update_id")) is not int:
        raise Unreadable("the update", "no object with an update_id")
    chat = read_address(body)
    if not chat:
        return Received(quiet="unknown_kind")
    try:
        event = InboundEvent(
            channel="telegram",
            account=account.name,
            chat=chat,
            dedup_keys=(f"telegram:{account.name}:{body['update_id']}",),
            received_at=time.time(),
            body=body,
            attachments=_sent_along(body),
        )
    except ValidationError:
        raise Unreadable("the update", "too deep, or not Unicode") from None
    return Received(events=(event,))


def _sent_along(body: dict[str, Any]) -> tuple[Attachment, ...]:
    try:
        message = read_update(body).message
    except Unreadable:
        return ()
    return _attachments(message) if message else ()


def parse(event: InboundEvent, account: Account, *, bot_username: str) -> Message | Ignored:
    update = read_update(event.body)
    if update.callback_query is not None:
        return _pressed(update.callback_query)
    if update.edited_message is not None:
        return Ignored(why="edited")
    if update.message is None:
        return Ignored(why="unknown_kind")
    return _said(update.message, event, account.settings, bot_username)


def callback_id(event: InboundEvent) -> str:
    """Id of the press of a button, or nothing."""
    query = read_update(event.body).callback_query
    return query.id if query else ""


def _said(
    message: TelegramMessage, event: InboundEvent, settings: TelegramSettings, bot_username: str
) -> Message | Ignored:
    sender = message.sender
    if sender is None or message.sender_chat is not None:
        return Ignored(why="no_person")
    if sender.is_bot:
        return Ignored(why="bot")
    attachments = event.attachments or _attachments(message)
    said = message.text or message.caption
    if not said and not attachments:
        return Ignored(why="service_message")
    group = message.chat.type != "private"
    entities = message.entities if message.text else message.caption_entities
    text, mentioned = _without_mentions(said, entities, bot_id=settings.bot_id, bot_username=bot_username)
    text, for_us = _command(text, bot_username)
    replied = message.reply_to_message
    answers_us = replied is not None and replied.sender is not None and replied.sender.id == settings.bot_id
    kind, text = _kind(text, bool(attachments), private=not group)
    return Message(
        id=str(message.message_id),
        sender=_sender(sender),
        text=text,
        attachments=attachments,
        kind=kind,
        reply_to=str(replied.message_id) if replied else "",
        sent_at=float(message.date),
        locale=sender.language_code,
        group=group,
        addressed=not group or mentioned or for_us is True or (answers_us and for_us is None),
    )


def _pressed(query: CallbackQuery) -> Message | Ignored:
    message = query.message
    if message is None or query.sender.is_bot:
        return Ignored(why="no_person")
    text = query.data
    if text.startswith(LABEL_DATA):
        text = next((label for label, data in _buttons(message) if data == query.data), "")
    if not text:
        return Ignored(why="empty_button")
    return Message(
        id=str(message.message_id),
        sender=_sender(query.sender),
        text=text,
        kind=MessageKind.BUTTON,
        sent_at=float(message.date),
        locale=query.sender.language_code,
        group=message.chat.type != "private",
    )


def callback_data(value: str) -> str:
    """What a button carries for a choice: at most 64 bytes."""
    if len(value.encode()) <= 64 and not value.startswith(LABEL_DATA):
        return value
    return LABEL_DATA + ascii_key(value)


def _buttons(message: TelegramMessage) -> list[tuple[str, str]]:
    rows = message.reply_markup.inline_keyboard if message.reply_markup else []
    return [(button.text, button.callback_data) for row in rows for button in row]


def _kind(text: str, has_media: bool, *, private: bool) -> tuple[MessageKind, str]:
    if has_media:
        return MessageKind.MEDIA, text
    if not COMMAND.match(text):
        return MessageKind.TEXT, text
    name, _, rest = text.partition(" ")
    if private and name == "/start" and rest.strip():
        return MessageKind.PAIR, rest.strip()
    return MessageKind.COMMAND, text


def _command(text: str, bot_username: str) -> tuple[str, bool | None]:
    """The text with `/Name@bot` as `/name`, and whether that names us (None: it has no mention)."""
    found = COMMAND.match(text)
    if found is None:
        return text, None
    name, bot = found.group(1).lower(), found.group(2)
    rest = text[found.end() :].strip()
    named = None if bot is None else bot.lower() == bot_username.lower()
    return f"/{name} {rest}".rstrip(), named


def _without_mentions(
    text: str, entities: list[Entity], *, bot_id: int, bot_username: str
) -> tuple[str, bool]:
    """The text without what names the bot. Offsets count UTF-16 units."""
    units = text.encode("utf-16-le", "surrogatepass")
    ours = []
    for entity in entities:
        start, end = max(entity.offset, 0) * 2, max(entity.offset + entity.length, 0) * 2
        name = units[start:end].decode("utf-16-le", "ignore")
        by_name = entity.type == "mention" and bot_username and name.lower() == f"@{bot_username.lower()}"
        by_id = entity.type == "text_mention" and entity.user is not None and entity.user.id == bot_id
        if start < end and (by_name or by_id):
            ours.append((start, end))
    for start, end in sorted(ours, reverse=True):
        units = units[:start] + units[end:]
    if not ours:
        return text, False
    kept = units.decode("utf-16-le", "ignore")
    return kept.strip().removeprefix(",").removeprefix(":").lstrip(), True


def _attachments(message: TelegramMessage) -> tuple[Attachment, ...]:
    found: list[tuple[str, TelegramFile]] = []
    if message.photo:
        found.append(("photo", max(message.photo, key=lambda size: size.file_size)))
    for kind in ("voice", "audio", "video", "video_note", "sticker"):
        file = getattr(message, kind)
        if file is not None:
            found.append((kind, file))
    if message.animation is not None:  # comes with a document of the same file
        found.append(("animation", message.animation))
    elif message.document is not None:
        found.append(("document", message.document))
    stored = tuple(_attachment(kind, file) for kind, file in found)
    return stored or tuple(
        Attachment(name=kind, media_type=f"application/vnd.telegram.{kind}")
        for kind in _WITHOUT_FILE
        if getattr(message, kind) is not None
    )


def _attachment(kind: str, file: TelegramFile) -> Attachment:
    return Attachment(
        name=file.file_name or kind,
        media_type=file.mime_type or _MEDIA_TYPES[kind],
        size_bytes=max(file.file_size, 0),
        platform_ref=file.file_id,
    )


def _sender(user: User) -> Sender:
    return Sender(id=str(user.id), name=user.name, is_bot=user.is_bot)
