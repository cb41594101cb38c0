"""Settings of a Telegram account: `[channels.telegram.NAME]`."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from channels.base import AccountSettings

_TOKEN = re.compile(r"[0-9]{1,18}:[A-Za-z0-9_-]+")
_SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}")


class TelegramSettings(AccountSettings):
    token: SecretStr = Field(description="the bot's token, as @BotFather gives it")
    secret: SecretStr | None = Field(
        None,
        description="secret of the webhook, 1-256 of A-Z a-z 0-9 _ -; missing: derived from the token",
    )
    api_base: str = Field("https://api.telegram.org", description="where the Bot API is reached")
    receive: Literal["auto", "webhook", "poll"] = Field(
        "auto",
        description="how updates come in; auto: by webhook when public_url is set, else by long polling",
    )
    rate_per_s: float = Field(
        30, description="messages a second of the whole account; 0 switches the limit off", ge=0
    )
    rate_per_chat_per_s: float = Field(
        1, description="messages a second of one chat; 0 switches the limit off", ge=0
    )
    burst: int = Field(5, description="messages that a chat may get at once before its rate counts", ge=1)
    bot_username: str = Field(
        "", description="the bot's name without @; asked from Telegram when it is missing"
    )
    max_connections: int = Field(40, description="deliveries that Telegram may make at once", ge=1, le=100)

    @field_validator("token")
    @classmethod
    def _looks_like_a_token(cls, value: SecretStr) -> SecretStr:
        if not _TOKEN.fullmatch(value.get_secret_value()):
            raise ValueError("not a bot token (digits, a colon, letters)")
        return value

    @field_validator("secret")
    @classmethod
    def _is_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _SECRET.fullmatch(value.get_secret_value()):
            raise ValueError("1 to 256 characters of A-Z a-z 0-9 _ -")
        return value

    @field_validator("api_base")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        if not value.startswith(("https://", "http://")):
            raise ValueError("a URL that begins with https:// or http://")
        return value.rstrip("/")

    @field_validator("bot_username")
    @classmethod
    def _without_at(cls, value: str) -> str:
        return value.removeprefix("@")

    def at_edge(self) -> dict[str, str]:
        return {"token": f"{self.bot_id}:stays-with-the-core", "secret": self.webhook_secret}

    @property
    def bot_id(self) -> int:
        return int(self.token.get_secret_value().partition(":")[0])

    @property
    def webhook_secret(self) -> str:
        """The secret, or one that only who knows the token can make: then a token is all that is needed."""
        if self.secret is not None:
            return self.secret.get_secret_value()
        key = self.token.get_secret_value().encode()
        return hmac.new(key, b"portico telegram webhook secret", hashlib.sha256).hexdigest()
