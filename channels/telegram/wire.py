"""The parts of Telegram's update that Portico reads. What else is in it is ignored.

Field names and meanings: https://core.telegram.org/bots/api#update
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from portico.errors import Unreadable
from portico.problems import first_problem

UPDATE_KINDS = ("message", "edited_message", "callback_query")
"""What Telegram is asked for. Others are acknowledged and counted."""


Int = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Seconds = Annotated[int, Field(ge=0, lt=2**40)]


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class User(_Wire):
    id: Int
    is_bot: bool = False
    first_name: str = ""
    last_name: str = ""
    username: str = ""
    language_code: str = ""

    @property
    def name(self) -> str:
        return " ".join(part for part in (self.first_name, self.last_name) if part) or self.username


class Chat(_Wire):
    id: Int
    type: str = "private"


class Entity(_Wire):
    type: str
    offset: Int
    length: Int
    user: User | None = None


class TelegramFile(_Wire):
    """Any of Telegram's files. A photo is a list of these, in growing sizes."""

    file_id: str
    file_size: Int = 0
    file_name: str = ""
    mime_type: str = ""


class Button(_Wire):
    text: str = ""
    callback_data: str = ""


class Keyboard(_Wire):
    inline_keyboard: list[list[Button]] = []


class RepliedTo(_Wire):
    message_id: Int
    sender: User | None = Field(None, alias="from")


class TelegramMessage(_Wire):
    message_id: Int
    chat: Chat
    date: Seconds = 0
    sender: User | None = Field(None, alias="from")
    sender_chat: Chat | None = None
    message_thread_id: Int | None = None
    is_topic_message: bool = False
    text: str = ""
    entities: list[Entity] = []
    caption: str = ""
    caption_entities: list[Entity] = []
    reply_to_message: RepliedTo | None = None
    reply_markup: Keyboard | None = None
    photo: list[TelegramFile] = []
    voice: TelegramFile | None = None
    audio: TelegramFile | None = None
    document: TelegramFile | None = None
    video: TelegramFile | None = None
    video_note: TelegramFile | None = None
    animation: TelegramFile | None = None
    sticker: TelegramFile | None = None
    location: JsonValue = None
    venue: JsonValue = None
    contact: JsonValue = None
    poll: JsonValue = None
    dice: JsonValue = None
    story: JsonValue = None


class CallbackQuery(_Wire):
    id: str
    sender: User = Field(alias="from")
    data: str = ""
    message: TelegramMessage | None = None


class Update(_Wire):
    update_id: Int
    message: TelegramMessage | None = None
    edited_message: TelegramMessage | None = None
    callback_query: CallbackQuery | None = None


_UPDATE = TypeAdapter(Update)


def read_update(body: Any) -> Update:
    """Raises `Unreadable` with the place of the first mistake, never with what was there."""
    try:
        return _UPDATE.validate_python(body)
    except ValidationError as error:
        raise Unreadable("the update", first_problem(error).rule()) from None


def read_address(body: dict[str, Any]) -> str:
    """The chat that an update belongs to, or the topic in it; nothing when it has none or is of another kind.

    Looks at no more than it needs: an update of a newer shape still finds its conversation. Replies outside
    of forums carry a thread id as well, so only `is_topic_message` tells a topic.
    """
    query = _object(body.get("callback_query"))
    about = _object(body.get("message") or body.get("edited_message") or query.get("message"))
    chat_id = _object(about.get("chat")).get("id")
    if not _is_int(chat_id):
        return ""
    thread = about.get("message_thread_id")
    return (
        f"{chat_id}:{thread}" if about.get("is_topic_message") is True and _is_int(thread) else str(chat_id)
    )


def split_address(chat: str) -> tuple[int | str, int | None]:
    """`chat_id` and `message_thread_id` of an address. A public name (@name) stays as it is."""
    number, _, thread = chat.partition(":")
    chat_id: int | str = int(number) if number.lstrip("-").isdigit() else number
    return chat_id, int(thread) if thread.isdigit() else None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
