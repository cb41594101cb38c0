"""A command that runs in a sandbox, and everybody who listens to it. Listeners come and go; it runs on."""

from __future__ import annotations

import asyncio
import base64
import signal
from collections.abc import AsyncIterator
from typing import Any

from sandbox.link import Answer, Call, GuestError, SandboxGone

Event = dict[str, Any]
STREAMS = ("stdout", "stderr", "pty")
QUEUE = 256  # chunks of at most 64 KiB that one listener may be behind
PATIENCE_S = 30.0


class Command:
    """`config` and `tag` as the client gave them; `finished` once it has ended and all listeners have its end."""

    def __init__(self, call: Call, config: dict[str, Any], tag: str | None) -> None:
        self.call = call
        self.config = config
        self.tag = tag
        self.pid = 0
        self._listeners: set[asyncio.Queue[Event | None]] = set()
        self.finished = False

    async def begin(self) -> AsyncIterator[Answer]:
        """Wait until it has started. GuestError says why it could not."""
        answers = aiter(self.call)
        header, _ = await anext(answers)
        if not isinstance(header.get("pid"), int):
            raise GuestError("internal", "the sandbox answered nonsense")
        self.pid = header["pid"]
        return answers

    async def pump(self, answers: AsyncIterator[Answer]) -> None:
        """Hand on what it writes until it ends."""
        try:
            async for header, body in answers:
                if header.get("stream") in STREAMS:
                    await self._tell({"data": {header["stream"]: base64.b64encode(body).decode()}})
                elif isinstance(header.get("exit"), int):
                    await self._tell({"end": ended(header["exit"])})
        except (SandboxGone, GuestError):
            pass  # a listener that gets no end knows
        finally:
            self.finished = True
            for listener in self._listeners:
                _close(listener)

    async def _tell(self, event: Event) -> None:
        for listener in list(self._listeners):
            try:
                await asyncio.wait_for(listener.put(event), PATIENCE_S)
            except TimeoutError:
                self._listeners.discard(listener)
                _close(listener)

    async def events(self, keepalive_s: float) -> AsyncIterator[Event]:
        """From now on, beginning with its start. Raises SandboxGone if it is cut off before the end."""
        listener: asyncio.Queue[Event | None] = asyncio.Queue(QUEUE)
        self._listeners.add(listener)
        try:
            yield {"event": {"start": {"pid": self.pid}}}
            while True:
                try:
                    event = await asyncio.wait_for(listener.get(), keepalive_s)
                except TimeoutError:
                    yield {"event": {"keepalive": {}}}
                    continue
                if event is None:
                    raise SandboxGone
                yield {"event": event}
                if "end" in event:
                    return
        finally:
            self._listeners.discard(listener)

    def described(self) -> Event:
        return {"config": self.config, "pid": self.pid, **({"tag": self.tag} if self.tag else {})}


def _close(listener: asyncio.Queue[Event | None]) -> None:
    if listener.full():
        listener.get_nowait()
    listener.put_nowait(None)


def ended(status: int) -> Event:
    """How a command ended; a negative status is the signal that ended it."""
    if status >= 0:
        return {"exitCode": status, "exited": True, "status": f"exit status {status}"}
    try:
        name = signal.strsignal(-status) or str(-status)
    except ValueError:
        name = str(-status)
    text = f"signal: {name.lower()}"
    return {"exitCode": -1, "exited": False, "status": text, "error": text}
