"""Words of a text, and the statement that finds remembered lines by them, on either database."""

from __future__ import annotations

import re

from portico.storage.engine.sqlcipher import Connection
from portico.storage.engine.values import Words

_WORD = re.compile(r"[^\W_]+")
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")


def words_of(text: str) -> list[str]:
    """Words in lower case; of Han text, which has no spaces, every character and every pair."""
    words: list[str] = []
    for word in _WORD.findall(text.casefold()):
        if _HAN.search(word):
            words += list(word) + [word[at : at + 2] for at in range(len(word) - 1)]
        else:
            words.append(word)
    return words


def has_all(connection: Connection, text: str) -> tuple[str, tuple[str, ...]]:
    """A condition on `memory_words` that holds where all words of the text do, and its values."""
    keyed = getattr(connection, "keyed_words", False)
    if keyed:
        return "memory_words.text @> ?", (Words(text),)
    if _HAN.search(text):  # the embedded index takes a run of Han text for one word
        parts = [part.casefold() for part in text.split()]
        return " AND ".join("instr(lower(memory.text), ?) > 0" for _ in parts), tuple(parts)
    return "memory_words MATCH ?", (" ".join(f'"{word}"' for word in words_of(text)),)
