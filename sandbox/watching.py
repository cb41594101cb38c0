"""A watcher of a sandbox's folder: events of the agent, kept until they are read."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from sandbox.link import Answer, Call, GuestError, GuestLink, SandboxGone

UNREAD_LIMIT = 10_000  # events; the oldest go first


class Watcher:
    """Events since the last question, as the protocol writes them."""

    def __init__(self, call: Call, answers: AsyncIterator[Answer]) -> None:
        self.id = "w" + secrets.token_hex(8)
        self.ended = False
        self._call = call
        self._events: deque[dict[str, Any]] = deque(maxlen=UNREAD_LIMIT)
        self._arrived = asyncio.Event()
        self._task = asyncio.create_task(self._listen(answers))

    @classmethod
    async def begin(cls, link: GuestLink, message: dict[str, Any]) -> Watcher:
        """GuestError says why a folder cannot be watched."""
        path = message.get("path")
        if not isinstance(path, str):
            raise GuestError("invalid_argument", "path must be text")
        recursive, entry = message.get("recursive") is True, message.get("includeEntry") is True
        call = link.call("watch", path=path, recursive=recursive, entry=entry)
        answers = aiter(call)
        await anext(answers)
        return cls(call, answers)

    async def _listen(self, answers: AsyncIterator[Answer]) -> None:
        try:
            async for header, _ in answers:
                event = header.get("event")
                if isinstance(event, dict):
                    self._events.append(event)
                    self._arrived.set()
        except (SandboxGone, GuestError):
            pass  # the next request gets the error that the sandbox is gone
        finally:
            self.ended = True
            self._arrived.set()

    def taken(self) -> list[dict[str, Any]]:
        events = list(self._events)
        self._events.clear()
        self._arrived.clear()
        return events

    async def wait(self, seconds: float) -> list[dict[str, Any]]:
        """Events as they come, or none after that time."""
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            return []
        return self.taken()

    def close(self) -> None:
        self._call.cancel()
        self._task.cancel()
