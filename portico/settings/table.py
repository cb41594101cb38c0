"""Base class of the settings' tables, and values that refer to a file or variable with a secret."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr

from portico.errors import Misconfigured
from portico.settings.secret_files import read_secret_file

MIB = 1024 * 1024


def _from_its_place(value: object) -> object:
    """`file:PATH` and `env:NAME` are replaced by the content, so that containers can mount secrets as files."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not isinstance(text, str) or not text.startswith(("file:", "env:")):
        return value
    kind, _, place = text.partition(":")
    try:
        content = read_secret_file(place) if kind == "file" else os.environ[place]  # noqa: TID251 - named by the owner
    except (Misconfigured, KeyError):
        raise ValueError(f"{text} is not there or cannot be read") from None
    return content.strip()


Text = Annotated[str, BeforeValidator(_from_its_place)]
Secret = Annotated[SecretStr, BeforeValidator(_from_its_place)]
"""A secret of the file: the value, or `file:PATH` or `env:NAME` for where it is."""


class Table(BaseModel):
    """A table of the settings file: frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
