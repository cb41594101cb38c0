"""Says in English, word for word, what a Chinese text says, for an encoder that knows English only.

No translation: each longest word that the dictionary has is replaced by the first of its meanings. That is enough
to tell what a short request is about. The words lie in a file with a hash table before them, mapped into memory, so
that 160,000 words cost a model neither start nor memory of its own.
"""

from __future__ import annotations

import gzip
import mmap
import re
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

FILE = "glossary.bin"
SLOTS = 1 << 19
LONGEST = 6  # characters of a word
MOST_WORDS = 4  # of a meaning; longer ones explain instead of naming
MAX_CHARACTERS = 400

_ENTRY = re.compile(r"(\S+) (\S+) \[([^]]*)\] /(.*)/\s*$")
_CHINESE_WORD = re.compile(rf"[\u3400-\u9fff]{{1,{LONGEST}}}")
_CHINESE = re.compile(r"([\u3400-\u9fff]+)")
_ASIDE = re.compile(r"\([^)]*\)|\[[^]]*\]|[\u3400-\u9fff|]+|^to ")
_ABOUT_THE_WORD = re.compile(r"variant of|surname|^see |CL:|abbr\. for|used in|also written|old name")


class Glossary:
    """Looks words up in a file that `write_glossary` made."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._words = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._slots = np.frombuffer(self._words, dtype="<u4", count=SLOTS)

    def english(self, text: str) -> str:
        """The first lines of the text with each Chinese word replaced; without one it stays as it is."""
        parts = (
            " ".join(self._meanings(part)) if _CHINESE.match(part) else part.strip()
            for part in _CHINESE.split(text[:MAX_CHARACTERS])
        )
        return " ".join(part for part in parts if part)

    def _meanings(self, chinese: str) -> Iterator[str]:
        start = 0
        while start < len(chinese):
            for length in range(min(LONGEST, len(chinese) - start), 0, -1):
                meaning = self._find(chinese[start : start + length])
                if meaning:
                    yield meaning
                    break
            start += length

    def _find(self, word: str) -> str:
        key = word.encode() + b"\t"
        slot = zlib.crc32(key) % SLOTS
        while place := int(self._slots[slot]):
            if self._words[place : place + len(key)] == key:
                return self._words[place + len(key) : self._words.find(b"\n", place)].decode()
            slot = (slot + 1) % SLOTS
        return ""


def write_glossary(dictionary: Path, path: Path) -> None:
    """`dictionary`: CC-CEDICT as it is published, compressed by gzip."""
    slots, words = np.zeros(SLOTS, dtype="<u4"), bytearray()
    with gzip.open(dictionary, "rt", encoding="utf-8") as lines:
        meanings = _first_meanings(lines)
    for word, meaning in sorted(meanings.items()):
        key = word.encode() + b"\t"
        slot = zlib.crc32(key) % SLOTS
        while slots[slot]:
            slot = (slot + 1) % SLOTS
        slots[slot] = slots.nbytes + len(words)
        words += key + meaning.encode() + b"\n"
    path.write_bytes(slots.tobytes() + words)


def _first_meanings(lines: Iterable[str]) -> dict[str, str]:
    """For each word, traditional or simplified, its first meaning; that of a name only where there is no other."""
    found: dict[str, tuple[bool, str]] = {}
    for line in lines:
        entry = _ENTRY.match(line)
        if entry is None:
            continue
        traditional, simplified, sound, meanings = entry.groups()
        meaning = next(filter(None, map(_plain, meanings.split("/"))), "")
        is_name = sound[:1].isupper()
        for word in {traditional, simplified}:
            known = found.get(word)
            if meaning and _CHINESE_WORD.fullmatch(word) and (known is None or (known[0] and not is_name)):
                found[word] = (is_name, meaning)
    return {word: meaning for word, (_, meaning) in found.items()}


def _plain(meaning: str) -> str:
    """A meaning in a few words, or nothing where it tells about the word instead."""
    bare = _ASIDE.sub(" ", meaning).strip()
    if _ABOUT_THE_WORD.search(bare):
        return ""
    words = _ASIDE.sub(" ", re.split(r"[;,]", bare)[0].strip()).split()
    return " ".join(words) if len(words) <= MOST_WORDS else ""
