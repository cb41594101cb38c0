"""Cache of `understand` results; concurrent requests for the same text share one call.

Only results of the head that the built models name are cached and served: `train-intents` and `rollback` write that
name before Triton loads the head, so that a result of another head is never served. In memory only, keyed by hash,
bounded in entries and bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import orjson

from portico.private_files import write_private

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portico.triton.client import UnderstandResult

ENTRIES = 4_096
MAX_BYTES = 8 * 1024 * 1024
ENTRY_BYTES = 400  # per entry without its embedding: key, objects, names

Key = tuple[str, bytes]


class Understands(Protocol):
    async def understand(self, texts: Sequence[str]) -> list[UnderstandResult]: ...


@dataclass
class CacheCounts:
    """Counts since process start; `entries` and `size_bytes` are current. `joined`: shared another request's call."""

    hits: int = 0
    joined: int = 0
    misses: int = 0
    entries: int = 0
    size_bytes: int = 0

    @property
    def hit_rate(self) -> float:
        total = self.hits + self.joined + self.misses
        return (self.hits + self.joined) / total if total else 0.0


class ServedHead:
    """Version of the head that the built models name; empty if no model is built."""

    def __init__(self, actions: Path) -> None:
        self._path = actions
        self._seen: tuple[int, int, int] | None = None
        self._version = ""

    def version(self) -> str:
        try:
            stat = self._path.stat()
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if seen != self._seen:
                self._version = str(orjson.loads(self._path.read_bytes())["version"])
                self._seen = seen
        except (OSError, ValueError, KeyError):
            self._seen, self._version = None, ""
        return self._version


class UnderstandCache:
    """Caching wrapper around a client's `understand`. One for each process and event loop."""

    def __init__(
        self, client: Understands, head: ServedHead, *, entries: int = ENTRIES, max_bytes: int = MAX_BYTES
    ) -> None:
        self._client = client
        self._head = head
        self._entries, self._max_bytes = entries, max_bytes
        self._cached: OrderedDict[Key, UnderstandResult] = OrderedDict()
        self._pending: dict[Key, asyncio.Task[UnderstandResult]] = {}
        self.counts = CacheCounts()

    async def understand(self, texts: Sequence[str]) -> list[UnderstandResult]:
        """Results in order. Raises the client's errors."""
        if len(texts) == 1:
            return [await self._one(texts[0])]
        return list(await asyncio.gather(*(self._one(text) for text in texts)))

    async def close(self) -> None:
        """Close the client if it can be closed."""
        close = getattr(self._client, "close", None)
        if close is not None:
            await close()

    async def _one(self, text: str) -> UnderstandResult:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        key = (self._head.version(), digest)
        known = self._cached.get(key)
        if known is not None:
            self._cached.move_to_end(key)
            self.counts.hits += 1
            return known
        task = self._pending.get(key)
        if task is None:
            self.counts.misses += 1
            task = asyncio.create_task(self._ask(key, text))
            self._pending[key] = task
            task.add_done_callback(lambda done: self._pending.pop(key, None))
        else:
            self.counts.joined += 1
        # The first requester may be cancelled while others wait for the same result.
        return await asyncio.shield(task)

    async def _ask(self, key: Key, text: str) -> UnderstandResult:
        (result,) = await self._client.understand([text])
        if result.head_version == key[0]:
            self._keep(key, result)
        return result

    def _keep(self, key: Key, result: UnderstandResult) -> None:
        self._cached[key] = result
        self.counts.size_bytes += _size(result)
        while len(self._cached) > self._entries or self.counts.size_bytes > self._max_bytes:
            _, oldest = self._cached.popitem(last=False)
            self.counts.size_bytes -= _size(oldest)
        self.counts.entries = len(self._cached)


def _size(result: UnderstandResult) -> int:
    return int(result.embedding.nbytes) + ENTRY_BYTES


def write_counts(counts: CacheCounts, path: Path) -> None:
    """For the process that serves `/metrics`."""
    write_private(path, json.dumps(asdict(counts)), durable=False)


def read_counts(path: Path) -> CacheCounts | None:
    """Counts as last written by another process; None if there are no counts."""
    try:
        return CacheCounts(**orjson.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
