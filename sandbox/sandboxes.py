"""Every sandbox of the service: made, found, counted, watched, paused, copied and ended here."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from sandbox.allowed import Allowed
from sandbox.isolation import Isolation
from sandbox.link import GuestError, SandboxGone
from sandbox.making import MARGIN, Maker, Opened, thawed
from sandbox.pictures import PictureFailed, Pictures, Sealed
from sandbox.proxy import open_way_out
from sandbox.record import KeptCommand, Sandbox
from sandbox.settings import ServiceSettings

WATCH_S = 0.2
LOG = logging.getLogger("sandbox")
TEMPLATES = ("base", "code-interpreter-v1", "code-interpreter")


class TooManySandboxes(Exception):
    """No more sandboxes fit."""

    def __init__(self, most: int) -> None:
        super().__init__(f"there are {most} sandboxes, and more are not allowed")


class Paused(Exception):
    """The sandbox is paused, and what was asked needs a running one."""

    def __init__(self) -> None:
        super().__init__("the sandbox is paused: connect to it first")


@dataclass(frozen=True, kw_only=True)
class SandboxRequest:
    """What a sandbox is made with."""

    template: str
    timeout_s: float
    metadata: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    pauses: bool = False
    resumes: bool = False
    allowed: Allowed = field(default_factory=Allowed)


@dataclass(frozen=True)
class Snapshot:
    """A picture that sandboxes are made from. It outlives the one it was taken of."""

    id: str
    name: str
    of: str
    picture: Sealed
    next_number: int
    commands: list[KeptCommand]
    env: dict[str, str]


class Sandboxes:
    """The registry. `sandboxes.find(id)` raises KeyError for what is not or no longer there."""

    def __init__(self, isolation: Isolation, settings: ServiceSettings) -> None:
        self._isolation = isolation
        self._settings = settings
        self._pictures = Pictures(isolation.state, settings.pictures_bytes)
        self._maker = Maker(isolation, settings, self._pictures, self._over)
        self._all: dict[str, Sandbox] = {}
        self.snapshots: dict[str, Snapshot] = {}
        self._making = 0
        self._behind: set[asyncio.Task[Any]] = set()

    @property
    def no_pictures(self) -> str:
        """Why sandboxes cannot be paused or copied here; empty if they can."""
        return self._pictures.missing

    def find(self, wanted: str) -> Sandbox:
        return self._all[wanted]

    def all(self) -> Iterator[Sandbox]:
        return iter(list(self._all.values()))

    def begin(self) -> None:
        self._maker.begin()

    async def create(self, wanted: SandboxRequest) -> Sandbox:
        """A sandbox of the caller's own. TooMany at the limit."""
        with self._place():
            snapshot = self.snapshots.get(wanted.template)
            if snapshot is None:
                sandbox = await self._maker.take()
            else:
                wanted = replace(wanted, env=snapshot.env | wanted.env)
                async with self._pictures.folder(snapshot.picture.size) as folder:
                    await self._pictures.unseal(snapshot.picture, folder)
                    picture = Opened(folder, snapshot.next_number, snapshot.commands)
                    sandbox = await self._maker.restored(picture)
            await self._register(sandbox, wanted)
        self._maker.fill()
        return sandbox

    @contextmanager
    def _place(self) -> Iterator[None]:
        running = sum(not sandbox.paused for sandbox in self._all.values())
        if running + self._making >= self._settings.most:
            raise TooManySandboxes(self._settings.most)
        self._making += 1
        try:
            yield
        finally:
            self._making -= 1

    async def _register(self, sandbox: Sandbox, wanted: SandboxRequest) -> None:
        sandbox.template, sandbox.metadata, sandbox.env = wanted.template, wanted.metadata, wanted.env
        sandbox.pauses, sandbox.resumes = wanted.pauses, wanted.resumes
        sandbox.started = datetime.now(UTC)
        sandbox.extend(wanted.timeout_s, shorten=True)
        sandbox.allowed = wanted.allowed
        if wanted.allowed:
            await open_way_out(sandbox)
        if not sandbox.link.closed:
            self._all[sandbox.id] = sandbox

    async def pause(self, sandbox: Sandbox) -> bool:
        """Keep all of it sealed and give its memory back. False if it is paused. PictureFailed, and it runs on."""
        async with sandbox.turning:
            if sandbox.paused:
                return False
            async with self._pictures.folder(sandbox.memory_used() + MARGIN) as folder:
                await self._maker.picture(sandbox, folder)
                try:
                    sandbox.picture = await self._pictures.seal(folder)
                except PictureFailed:
                    await thawed(sandbox.link)
                    raise
            if sandbox.link.closed:  # killed meanwhile
                self._pictures.drop(sandbox.picture)
                raise SandboxGone
            await sandbox.link.part()
            await self._isolation.destroy(sandbox.run)
        return True

    async def resume(self, sandbox: Sandbox, timeout_s: float) -> None:
        """Nothing if it runs. TooMany at the limit; PictureFailed if there is no room now."""
        async with sandbox.turning:
            if (picture := sandbox.picture) is None:
                return
            with self._place():
                async with self._pictures.folder(picture.size) as folder:
                    await self._pictures.unseal(picture, folder)
                    sandbox.extend(timeout_s, shorten=True)
                    try:
                        await self._maker.resumed(sandbox, folder)
                    finally:  # it runs, or is over; only a process that could not be started leaves it paused
                        if not sandbox.paused or sandbox.link.closed:
                            self._pictures.drop(picture)

    async def fork(self, sandbox: Sandbox, count: int, timeout_s: float) -> list[Sandbox | TooManySandboxes]:
        """Running copies, each with tokens of its own, as far as there is room."""
        wanted = SandboxRequest(
            template=sandbox.template,
            timeout_s=timeout_s,
            metadata=sandbox.metadata,
            env=sandbox.env,
            allowed=sandbox.allowed,
        )
        made: list[Sandbox | TooManySandboxes] = []
        async with sandbox.turning, self._pictures.folder(sandbox.memory_used() + MARGIN) as folder:
            if sandbox.paused:
                raise Paused
            await self._maker.picture(sandbox, folder)
            picture = Opened(folder, sandbox.link.next_number, sandbox.kept())
            await thawed(sandbox.link)
            for _ in range(count):
                try:
                    with self._place():
                        fork = await self._maker.restored(picture)
                        await self._register(fork, wanted)
                except TooManySandboxes as too_many:
                    made.append(too_many)
                else:
                    made.append(fork)
        return made

    async def snapshot(self, sandbox: Sandbox, name: str) -> Snapshot:
        async with sandbox.turning, self._pictures.folder(sandbox.memory_used() + MARGIN) as folder:
            if sandbox.paused:
                raise Paused
            await self._maker.picture(sandbox, folder)
            number, commands = sandbox.link.next_number, sandbox.kept()
            await thawed(sandbox.link)
            picture = await self._pictures.seal(folder)
        taken = Snapshot(
            "s" + secrets.token_hex(10), name, sandbox.id, picture, number, commands, dict(sandbox.env)
        )
        self.snapshots[taken.id] = taken
        return taken

    def forget(self, wanted: str) -> None:
        """KeyError if there is no such snapshot."""
        self._pictures.drop(self.snapshots.pop(wanted).picture)

    def _over(self, sandbox: Sandbox) -> None:
        """The link has closed: nothing of the sandbox may stay."""
        self._all.pop(sandbox.id, None)
        if sandbox.picture is not None:
            self._pictures.drop(sandbox.picture)
        self._go_on_behind(self._isolation.destroy(sandbox.run))

    def _go_on_behind(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)

    def kill(self, sandbox: Sandbox, because: str) -> None:
        LOG.info("sandbox %s ends: %s", sandbox.id, because)
        for task in sandbox.tasks:
            task.cancel()
        sandbox.link.close()

    async def watch(self) -> None:
        """End or pause what is past its time, end what takes too much memory. As long as the service runs."""
        while True:
            await asyncio.sleep(WATCH_S)
            now = datetime.now(UTC)
            for sandbox in self.all():
                if sandbox.paused:
                    continue
                if now >= sandbox.ends and sandbox.pauses:
                    if not sandbox.turning.locked():
                        self._go_on_behind(self._pause_or_kill(sandbox))
                elif now >= sandbox.ends:
                    self.kill(sandbox, "its time was over")
                elif sandbox.memory_used() > self._settings.limits.memory_bytes:
                    self.kill(sandbox, "it used more memory than it may")

    async def _pause_or_kill(self, sandbox: Sandbox) -> None:
        try:
            await self.pause(sandbox)
        except (PictureFailed, GuestError, SandboxGone) as failed:
            self.kill(sandbox, f"its time was over, and it could not be paused: {failed}")

    async def close(self) -> None:
        """End everything, and wait until nothing is left."""
        for sandbox in [*self.all(), *await self._maker.close()]:
            self.kill(sandbox, "the service stops")
        until = time.monotonic() + 15
        while self._behind and time.monotonic() < until:
            await asyncio.wait(self._behind, timeout=1)
        self._pictures.close()
