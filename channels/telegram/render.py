"""Telegram's way out, first half: a reply becomes calls of the Bot API."""

from __future__ import annotations

from typing import Any

from channels.telegram.markup import Piece, Tag, messages, pieces_of, plain
from channels.telegram.parse import callback_data
from portico.contracts.messages import (
    CardPart,
    Choice,
    ChoicesPart,
    FilePart,
    Outgoing,
    Part,
    Reply,
    TextPart,
)

TEXT_LIMIT = 4096
MARK = "↻ (possibly repeated)\n"
ROOM = TEXT_LIMIT - len(MARK)
"""What a message may fill, so that a mark fits in front of it later."""

PHOTO_TYPES = ("image/jpeg", "image/png", "image/webp")
PHOTO_BYTES = 10_000_000
LABEL_LENGTH = 64
SHORT_LABEL = 12
BUTTONS = 100


def render(reply: Reply) -> tuple[Outgoing, ...]:
    payloads = [payload for part in reply.parts for payload in _part(part)]
    if payloads and reply.quotes.isdecimal():
        # A quoted message that was deleted meanwhile must not hold the answer back.
        quoted = {"message_id": int(reply.quotes), "allow_sending_without_reply": True}
        payloads[0][1]["reply_parameters"] = quoted
    return tuple(Outgoing(chat="", method=method, payload=payload) for method, payload in payloads)


def marked(outgoing: Outgoing) -> Outgoing:
    field = "text" if outgoing.method == "sendMessage" else "caption"
    return outgoing.model_copy(
        update={"payload": {**outgoing.payload, field: MARK + str(outgoing.payload.get(field, ""))}}
    )


def unformatted(payload: dict[str, Any]) -> dict[str, Any]:
    """The same message as plain text, for when Telegram does not take its HTML."""
    rest = {key: value for key, value in payload.items() if key != "parse_mode"}
    return {**rest, "text": plain(str(payload.get("text", "")))}


def _part(part: Part) -> list[tuple[str, dict[str, Any]]]:
    match part:
        case TextPart():
            return _texts(pieces_of(part.text))
        case ChoicesPart():
            calls = _texts(pieces_of(part.text)) or _texts([Piece("…")])
            if part.choices:
                calls[-1][1]["reply_markup"] = {"inline_keyboard": _keyboard(part.choices)}
            return calls
        case CardPart():
            return _texts(_card(part))
        case FilePart():
            return [_file(part)]


def _texts(pieces: list[Piece]) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("sendMessage", {"text": text, "parse_mode": "HTML", "link_preview_options": {"is_disabled": True}})
        for text in messages(pieces, limit=ROOM)
        if plain(text).strip()
    ]


def _card(card: CardPart) -> list[Piece]:
    lines = [Piece(card.title, (Tag("b"),))]
    if card.text:
        lines += [Piece("\n"), *pieces_of(card.text)]
    if card.url:
        lines += [Piece("\n"), Piece(card.url)]
    return lines


def _keyboard(choices: tuple[Choice, ...]) -> list[list[dict[str, str]]]:
    buttons = [
        {"text": _label(choice), "callback_data": callback_data(choice.value)} for choice in choices[:BUTTONS]
    ]
    in_a_row = 3 if all(len(button["text"]) <= SHORT_LABEL for button in buttons) else 1
    return [buttons[start : start + in_a_row] for start in range(0, len(buttons), in_a_row)]


def _label(choice: Choice) -> str:
    text = choice.label.strip() or choice.value.strip() or "…"
    return text if len(text) <= LABEL_LENGTH else text[: LABEL_LENGTH - 1] + "…"


def _file(part: FilePart) -> tuple[str, dict[str, Any]]:
    """`file` is taken out again by `send`, which uploads the blob's content in the named field."""
    as_photo = part.type == "image" and part.media_type in PHOTO_TYPES and part.blob.size_bytes <= PHOTO_BYTES
    field = "photo" if as_photo else "document"
    file = {"field": field, "name": part.name, "media_type": part.media_type, "blob": part.blob.model_dump()}
    return f"send{field.capitalize()}", {"file": file}
