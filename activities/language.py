"""Names the language of a text by its script: enough to choose the language of an answer."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter

UNKNOWN = "und"  # BCP 47: undetermined
MAX_CHARACTERS = 2_000

# Addresses of pages and people are written with Latin letters in every language.
_ADDRESS = re.compile(r"[A-Za-z0-9_-]+(?:[.@/:?=&]+[A-Za-z0-9_-]+)+")

# First and last code point of what is written with a script, and the language it most often stands for here.
_RANGES = (
    (0x0041, 0x005A, "en"),
    (0x0061, 0x007A, "en"),
    (0x00C0, 0x024F, "en"),
    (0x0370, 0x03FF, "el"),
    (0x0400, 0x052F, "ru"),
    (0x0530, 0x058F, "hy"),
    (0x0590, 0x05FF, "he"),
    (0x0600, 0x06FF, "ar"),
    (0x0900, 0x097F, "hi"),
    (0x0980, 0x09FF, "bn"),
    (0x0B80, 0x0BFF, "ta"),
    (0x0E00, 0x0E7F, "th"),
    (0x10A0, 0x10FF, "ka"),
    (0x1100, 0x11FF, "ko"),
    (0x1E00, 0x1EFF, "en"),
    (0x3040, 0x30FF, "ja"),
    (0x3130, 0x318F, "ko"),
    (0x31F0, 0x31FF, "ja"),
    (0x3400, 0x4DBF, "zh"),
    (0x4E00, 0x9FFF, "zh"),
    (0xAC00, 0xD7AF, "ko"),
    (0xF900, 0xFAFF, "zh"),
    (0xFF66, 0xFF9D, "ja"),
    (0x20000, 0x323AF, "zh"),
)
_STARTS = [first for first, _, _ in _RANGES]
# A Chinese character says about as much as three Latin letters: "帮我运行 python" is Chinese.
_WEIGHT = {"zh": 3, "ja": 3, "ko": 2}


def detect_language(text: str) -> str:
    """A language tag such as "en" or "zh"; "und" when there is no letter. Latin script counts as English."""
    found: Counter[str] = Counter()
    for character in _ADDRESS.sub(" ", text[:MAX_CHARACTERS]):
        language = _language_of(ord(character))
        if language:
            found[language] += _WEIGHT.get(language, 1)
    if found["ja"] and found["ja"] * 5 >= found["zh"]:  # kana between the characters: Japanese
        found["ja"] += found.pop("zh", 0)
    return max(found, key=found.__getitem__) if found else UNKNOWN


def _language_of(code: int) -> str | None:
    index = bisect_right(_STARTS, code) - 1
    if index < 0:
        return None
    _, last, language = _RANGES[index]
    return language if code <= last else None
