"""What several channels need to know of text: commands, and lengths as UTF-16 counts them."""

from __future__ import annotations

import re

COMMAND = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@([A-Za-z0-9_]{1,64}))?(?=\s|$)")


def utf16_len(text: str) -> int:
    """Length in UTF-16 code units, the measure of Telegram and of browsers."""
    if text.isascii():
        return len(text)
    return len(text) + sum(1 for character in text if ord(character) > 0xFFFF)


def is_command(text: str) -> bool:
    return COMMAND.match(text) is not None
