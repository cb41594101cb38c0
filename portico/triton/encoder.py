"""The encoder for the edge, which rarely needs it: numpy and Triton's client are imported at first use."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from portico.triton.client import UnderstandClient

TIMEOUT_S = 30.0
"""For 64 long texts on a busy machine; API clients wait longer than a chat turn."""


class LazyEncoder:
    """One for each process and event loop."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._client: UnderstandClient | None = None

    async def embed(self, texts: Sequence[str]) -> list[Any]:
        """float32 [384] for each text, in order. Raises `Unavailable`, `BadInput`."""
        if self._client is None:
            module = await asyncio.to_thread(importlib.import_module, "portico.triton.client")
            self._client = self._client or module.UnderstandClient(self._address, timeout_s=TIMEOUT_S)
        return await self._client.embed(texts)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
