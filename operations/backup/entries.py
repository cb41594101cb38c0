"""Files and folders one after another in a stream, of sizes that need not be known before.

An entry is the length of its head (4 bytes), the head as JSON, then pieces, each with its length before it; a
length of 0 ends the pieces, and a head of length 0 the whole. The stream below proves that nothing is missing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Protocol

from operations.backup.sealed_stream import BadArchive

READ_BYTES = 256 * 1024
END = (0).to_bytes(4)


class Writes(Protocol):
    """All that is needed of what an archive is written to."""

    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True)
class Entry:
    """`name` is a path with slashes. A folder has no content."""

    name: str
    mode: int = 0o600
    folder: bool = False
    attributes: Mapping[str, bytes] = field(default_factory=dict)


class EntryWriter:
    def __init__(self, out: Writes) -> None:
        self._out = out
        self.count = 0

    def add(self, entry: Entry, pieces: Iterable[bytes] = ()) -> int:
        """How many bytes it has."""
        size = 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for piece in pieces:
                size += len(piece)
                yield piece

        for part in framed(entry, counted()):
            self._out.write(part)
        self.count += 1
        return size

    def finish(self) -> None:
        self._out.write(END)


def framed(entry: Entry, pieces: Iterable[bytes] = ()) -> Iterator[bytes]:
    """One entry as it stands in a stream; `END` follows the last one."""
    yield _sized(json.dumps(_facts(entry)).encode())
    for piece in pieces:
        if piece:
            yield _sized(piece)
    yield END


def read_entries(pieces: Iterator[bytes]) -> Iterator[tuple[Entry, Iterator[bytes]]]:
    """Each entry with its content, which has to be read to its end before the next. Raises `BadArchive`."""
    source = _Joined(pieces)
    while head := source.sized():
        yield _entry(head), source.until_empty()
    source.end()


def in_pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(READ_BYTES):
        yield piece


class _Joined:
    """Pieces of one size, read in others."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = bytearray()

    def sized(self) -> bytes:
        return self._take(int.from_bytes(self._take(4)))

    def until_empty(self) -> Iterator[bytes]:
        while piece := self.sized():
            yield piece

    def end(self) -> None:
        """Every piece has to be proven, the last one as well."""
        if self._left or any(self._pieces):
            raise BadArchive("the archive goes on after its end")

    def _take(self, size: int) -> bytes:
        while len(self._left) < size:
            piece = next(self._pieces, None)
            if piece is None:
                raise BadArchive("the archive ends in the middle of a file")
            self._left += piece
        taken = bytes(self._left[:size])
        del self._left[:size]
        return taken


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(4) + data


def _facts(entry: Entry) -> dict[str, Any]:
    attributes = {name: base64.b64encode(value).decode() for name, value in entry.attributes.items()}
    return {"name": entry.name, "mode": entry.mode, "folder": entry.folder, "attributes": attributes}


def _entry(head: bytes) -> Entry:
    """Names that lead out of the place where they are put back are refused."""
    facts = json.loads(head)
    steps = facts["name"].split("/")
    if any(step in ("", ".", "..") for step in steps) or "\0" in facts["name"]:
        raise BadArchive(f"the archive holds a file with the name {facts['name']!r}")
    attributes = {name: base64.b64decode(value) for name, value in facts["attributes"].items()}
    return Entry(facts["name"], facts["mode"], facts["folder"], attributes)
