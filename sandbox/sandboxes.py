"""Every sandbox of the service: made, found, counted, watched and ended here."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sandbox import link
from sandbox.isolation import AGENT, Isolation
from sandbox.link import Link, SandboxGone
from sandbox.running import Command
from sandbox.settings import Settings

WATCH_S = 0.2
LOG = logging.getLogger("sandbox")
TEMPLATES = ("base", "code-interpreter-v1", "code-interpreter")


class TooMany(Exception):
    """No more sandboxes fit."""


@dataclass
class Sandbox:
    """One sandbox with its link; told apart by its id, opened by its tokens."""

    id: str
    link: Link
    template: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    access_token: str = field(default_factory=lambda: secrets.token_hex(32))
    traffic_token: str = field(default_factory=lambda: secrets.token_hex(32))
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    ends: datetime = field(default_factory=lambda: datetime.now(UTC))
    commands: dict[int, Command] = field(default_factory=dict)
    memory: Path | None = None
    cpu_mark: tuple[float, float] = (0.0, 0.0)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

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
        """Bytes of guest memory and files, and of gVisor's own heap. 0 while it cannot be told."""
        return _memory_of(self)


class Sandboxes:
    """The registry. `sandboxes.find(id)` raises KeyError for what is not or no longer there."""

    def __init__(self, isolation: Isolation, settings: Settings) -> None:
        self._isolation = isolation
        self._settings = settings
        self._all: dict[str, Sandbox] = {}
        self._warm: asyncio.Queue[Sandbox] = asyncio.Queue()
        self._filling: set[asyncio.Task[None]] = set()
        self._making = 0
        self._ending: set[asyncio.Task[None]] = set()

    def find(self, wanted: str) -> Sandbox:
        return self._all[wanted]

    def all(self) -> Iterator[Sandbox]:
        return iter(list(self._all.values()))

    async def create(
        self, template: str, timeout_s: float, metadata: dict[str, str], env: dict[str, str]
    ) -> Sandbox:
        """A sandbox of the caller's own: a warm one if there is, else a new one. TooMany at the limit."""
        if len(self._all) + self._making >= self._settings.most:
            raise TooMany
        self._making += 1
        try:
            sandbox = self._take_warm() or await self._make()
        finally:
            self._making -= 1
        sandbox.template, sandbox.metadata, sandbox.env = template, metadata, env
        sandbox.started = datetime.now(UTC)
        sandbox.extend(timeout_s, shorten=True)
        self._all[sandbox.id] = sandbox
        self.fill()
        return sandbox

    def _take_warm(self) -> Sandbox | None:
        while not self._warm.empty():
            sandbox = self._warm.get_nowait()
            if not sandbox.link.closed:
                return sandbox
        return None

    def fill(self) -> None:
        """Have the next sandboxes ready before anybody asks."""
        missing = self._settings.warm - self._warm.qsize() - len(self._filling)
        for _ in range(missing):
            task = asyncio.create_task(self._add_warm())
            self._filling.add(task)
            task.add_done_callback(self._filling.discard)

    async def _add_warm(self) -> None:
        sandbox = await self._make()
        ready = False
        try:
            ready = bool((await sandbox.link.ask("ready", timeout_s=link.READY_S)).get("ready"))
        except (SandboxGone, link.GuestError):
            LOG.warning("a sandbox did not get ready")  # the next creation tries again and reports
        finally:
            if not ready:  # also when the service stops meanwhile
                sandbox.link.close()
        if ready:
            self._warm.put_nowait(sandbox)

    async def _make(self) -> Sandbox:
        name = "i" + secrets.token_hex(10)
        bundle = self._isolation.write_bundle(name, self._settings.limits, AGENT)
        command = self._isolation.command("run", f"--bundle={bundle}", name)
        started = await link.start(command, lambda: self._over(name))
        return Sandbox(name, started)

    def _over(self, name: str) -> None:
        """The link has closed: nothing of the sandbox may stay."""
        self._all.pop(name, None)
        task = asyncio.create_task(self._isolation.destroy(name))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def kill(self, sandbox: Sandbox, because: str) -> None:
        LOG.info("sandbox %s ends: %s", sandbox.id, because)
        for task in sandbox.tasks:
            task.cancel()
        sandbox.link.close()

    async def watch(self) -> None:
        """End what is past its time or takes more memory than it may. Runs as long as the service."""
        while True:
            await asyncio.sleep(WATCH_S)
            now = datetime.now(UTC)
            for sandbox in self.all():
                if now >= sandbox.ends:
                    self.kill(sandbox, "its time was over")
                elif sandbox.memory_used() > self._settings.limits.memory_bytes:
                    self.kill(sandbox, "it used more memory than it may")

    async def close(self) -> None:
        """End everything, and wait until nothing is left."""
        for task in self._filling:
            task.cancel()
        if self._filling:
            await asyncio.wait(self._filling)
        for sandbox in [*self.all(), *(self._warm.get_nowait() for _ in range(self._warm.qsize()))]:
            self.kill(sandbox, "the service stops")
        until = time.monotonic() + 15
        while self._ending and time.monotonic() < until:
            await asyncio.wait(self._ending, timeout=1)


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
