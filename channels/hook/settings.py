"""Settings of a hook account: `[channels.hook.NAME]`."""

from __future__ import annotations

import base64
import binascii

from pydantic import Field, SecretStr, field_validator

from channels.base import AccountSettings

LEAST_SECRET_BYTES = 16


class HookSettings(AccountSettings):
    secret: SecretStr = Field(description="whsec_ and base64: signs what comes in and what goes out")
    reply_url: str = Field("", description="URL that replies are posted to")
    rate_per_s: float = Field(
        0, description="replies a second of the account; 0 switches the limit off", ge=0
    )

    @field_validator("secret")
    @classmethod
    def _is_a_key(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value().removeprefix("whsec_")
        try:
            key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("not whsec_ and base64") from None
        if len(key) < LEAST_SECRET_BYTES:
            raise ValueError(f"shorter than {LEAST_SECRET_BYTES} bytes")
        return value

    @field_validator("reply_url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError("a URL that begins with https:// or http://")
        return value

    def at_edge(self) -> dict[str, str]:
        return {"secret": self.secret.get_secret_value()}
