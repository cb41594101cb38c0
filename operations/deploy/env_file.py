"""A deployment's `.env` file: its variables, defaults and allowed values."""

from __future__ import annotations

import re
from pathlib import Path

import dotenv

DEFAULT_PORT = 443
HOST = re.compile(
    r"(?=.{1,253}$)([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)*[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
)


def read_env(path: Path) -> dict[str, str]:
    """The variables of a `.env` file, as compose reads them; none where it is missing."""
    try:
        found = dotenv.dotenv_values(path)
    except (OSError, UnicodeDecodeError):
        return {}
    return {name: value for name, value in found.items() if value is not None}
