"""One sandbox, as the service knows it: its names, tokens, times, commands, and what it uses."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sandbox.allowed import Allowed
from sandbox.link import GuestLink
from sandbox.pictures import Sealed
from sandbox.running import Command
from sandbox.watching import Watcher


@dataclass(frozen=True)
class KeptCommand:
    """A command that runs in a picture."""

    pid: int
    number: int
    config: dict[str, Any]
    tag: str | None


@dataclass
class Sandbox:
    """One sandbox with its link; identified by its id, authorized by its tokens."""

    id: str
    run: str  # what gVisor knows it by: another name after each pause
    link: GuestLink = field(init=False)
    picture: Sealed | None = None  # of a paused one
    turning: asyncio.Lock = field(default_factory=asyncio.Lock)
    pauses: bool = False  # at the end of its time, instead of ending
    resumes: bool = False  # on the next request
    template: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    access_token: str = field(default_factory=lambda: secrets.token_hex(32))
    traffic_token: str = field(default_factory=lambda: secrets.token_hex(32))
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    ends: datetime = field(default_factory=lambda: datetime.now(UTC))
    commands: dict[int, Command] = field(default_factory=dict)
    watchers: dict[str, Watcher] = field(default_factory=dict)
    allowed: Allowed = field(default_factory=Allowed)
    has_way_out: bool = False
    memory: Path | None = None
    cpu_mark: tuple[float, float] = (0.0, 0.0)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def paused(self) -> bool:
        return self.picture is not None

    def opens(self, *tokens: str | None) -> bool:
        """Whether one of the tokens is this sandbox's own."""
        mine = (self.access_token, self.traffic_token)
        return any(
            token and hmac.compare_digest(token.encode(), own.encode()) for token in tokens for own in mine
        )

    def signed(self, path: str, operation: str, user: str, expiration: str | None) -> str:
        parts = [path, operation, user, self.access_token, *([expiration] if expiration else [])]
        digest = hashlib.sha256(":".join(parts).encode()).digest()
        return "v1_" + base64.b64encode(digest).decode().rstrip("=")

    def extend(self, seconds: float, *, shorten: bool) -> None:
        ends = datetime.now(UTC) + timedelta(seconds=seconds)
        self.ends = ends if shorten else max(ends, self.ends)

    def cpu_used_percent(self) -> float:
        """Since the last question, of one processor; 0 the first time."""
        sentry = _sentry(self.link.process.pid)
        try:
            fields = (sentry / "stat").read_text().rsplit(") ", 1)[1].split() if sentry else ["0"] * 13
        except OSError:
            return 0.0
        now, used = time.monotonic(), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        before, self.cpu_mark = self.cpu_mark, (now, used)
        return round(100 * (used - before[1]) / (now - before[0]), 1) if before[0] else 0.0

    def memory_used(self) -> int:
        """Bytes of guest memory and files, and of gVisor's own heap. 0 while it is unknown."""
        return _memory_of(self)

    def taken_over(self, link: GuestLink, commands: Sequence[KeptCommand]) -> None:
        """Go on listening to the commands that ran when the picture was taken."""
        self.link = link
        for kept in commands:
            command = Command(link.take_over(kept.number), kept.config, kept.tag)
            command.pid = kept.pid
            self.commands[kept.pid] = command
            task = asyncio.create_task(self._listen(command))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _listen(self, command: Command) -> None:
        try:
            await command.pump(aiter(command.call))
        finally:
            self.commands.pop(command.pid, None)

    def kept(self) -> list[KeptCommand]:
        return [
            KeptCommand(each.pid, each.call.number, each.config, each.tag) for each in self.commands.values()
        ]


def _memory_of(sandbox: Sandbox) -> int:
    memory, sentry = sandbox.memory, _sentry(sandbox.link.process.pid)
    if sentry is None:
        return 0
    try:
        if memory is None or not memory.is_relative_to(sentry):
            memory = sandbox.memory = next(
                entry for entry in (sentry / "fd").iterdir() if "memfd:runsc-memory" in os.readlink(entry)
            )
        heap = next(
            line for line in (sentry / "status").read_text().splitlines() if line.startswith("RssAnon:")
        )
        return memory.stat().st_blocks * 512 + int(heap.split()[1]) * 1024
    except (OSError, StopIteration):
        sandbox.memory = None
        return 0


def _sentry(starter: int) -> Path | None:
    """The kernel process of a sandbox: a child of the `runsc` that was started."""
    try:
        for thread in Path(f"/proc/{starter}/task").iterdir():  # any of them may have started it
            for child in (thread / "children").read_text().split():
                if "runsc-sandbox" in Path(f"/proc/{child}/cmdline").read_text():
                    return Path(f"/proc/{child}")
    except OSError:
        pass
    return None
