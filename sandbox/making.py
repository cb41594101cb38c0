"""How sandboxes come to be: started again, or from a picture, which is quicker and comes with a ready kernel."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
from asyncio.subprocess import Process
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.isolation import AGENT, Isolation
from sandbox.link import READY_S, GuestError, GuestLink, SandboxGone, spawn
from sandbox.pictures import PictureFailed, Pictures
from sandbox.record import KeptCommand, Sandbox
from sandbox.settings import ServiceSettings

MARGIN = 64 * 1024 * 1024  # what gVisor writes besides the guest's memory
LOG = logging.getLogger("sandbox")


@dataclass(frozen=True)
class Opened:
    """A picture in memory, and what its agent was in the middle of."""

    folder: Path
    next_number: int
    commands: Sequence[KeptCommand] = ()


class Maker:
    """Makes sandboxes and keeps some ready. `on_end` hears of each that is over."""

    def __init__(
        self,
        isolation: Isolation,
        settings: ServiceSettings,
        pictures: Pictures,
        on_end: Callable[[Sandbox], None],
    ) -> None:
        self._isolation = isolation
        self._settings = settings
        self._pictures = pictures
        self._on_end = on_end
        self._warm: asyncio.Queue[Sandbox] = asyncio.Queue()
        self._filling: set[asyncio.Task[None]] = set()
        self._fresh: Opened | None = None  # one that is ready and unused

    async def take(self) -> Sandbox:
        """A warm one if there is, else a new one."""
        while not self._warm.empty():
            sandbox = self._warm.get_nowait()
            if not sandbox.link.closed:
                return sandbox
        return await self._make()

    async def _make(self) -> Sandbox:
        if self._fresh is not None:
            try:
                return await self.restored(self._fresh, rename=True)
            except (SandboxGone, GuestError):
                LOG.warning("a sandbox could not be made from the picture of a fresh one")
        return await self._boot()

    async def _boot(self) -> Sandbox:
        sandbox = _named()
        process = await self._run_for(sandbox, "run")
        sandbox.link = GuestLink(process, lambda: self._on_end(sandbox))
        return sandbox

    async def restored(self, picture: Opened, *, rename: bool = False) -> Sandbox:
        """A new sandbox that goes on where the picture was taken. SandboxGone if it does not."""
        sandbox = _named()
        process = await self._run_for(sandbox, "restore", picture.folder)
        made = GuestLink(process, lambda: self._on_end(sandbox), goes_on_at=picture.next_number)
        sandbox.taken_over(made, picture.commands)
        await thawed(made, rename=rename)
        return sandbox

    async def resumed(self, sandbox: Sandbox, folder: Path) -> None:
        """The same sandbox goes on. SandboxGone if it does not, or was killed meanwhile."""
        run = f"{sandbox.id}r{secrets.token_hex(3)}"
        process = await self._run(run, "restore", folder)
        if sandbox.link.closed:
            process.kill()
            await self._isolation.destroy(run)
            raise SandboxGone
        sandbox.run = run
        sandbox.link.join(process)
        sandbox.picture = None
        await thawed(sandbox.link)

    async def _run_for(self, sandbox: Sandbox, how: str, folder: Path | None = None) -> Process:
        begun = False
        try:
            process = await self._run(sandbox.run, how, folder)
            begun = True
        finally:  # also when the service stops meanwhile: what has begun is over
            if not begun:
                self._on_end(sandbox)
        return process

    async def _run(self, name: str, how: str, folder: Path | None = None) -> Process:
        bundle = self._isolation.write_bundle(name, self._settings.limits, AGENT)
        picture = [f"--image-path={folder}"] if folder else []
        return await spawn(self._isolation.command(how, *picture, f"--bundle={bundle}", name))

    async def picture(self, sandbox: Sandbox, folder: Path) -> None:
        """Write it down while it stands still. It goes on with `thaw`. PictureFailed, and it goes on."""
        await sandbox.link.freeze()
        complaint = await self._isolation.picture(sandbox.run, folder)
        if complaint:
            await thawed(sandbox.link)
            raise PictureFailed(f"no picture could be taken: {complaint}", full="no space" in complaint)

    def fill(self) -> None:
        """Have the next sandboxes ready before anybody asks."""
        for _ in range(self._settings.warm - self._warm.qsize() - len(self._filling)):
            self._begin(self._add_warm())

    def begin(self) -> None:
        """Make the first one, and take its picture: those that follow start from it."""
        self._begin(self._add_first())

    def _begin(self, making: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(making)
        self._filling.add(task)
        task.add_done_callback(self._filling.discard)

    async def _add_first(self) -> None:
        sandbox = await self._boot()
        if not await self._is_ready(sandbox):
            return
        try:
            if not self._pictures.missing:
                await self._keep_fresh(sandbox)
        except asyncio.CancelledError:
            sandbox.link.close()
            raise
        if self._settings.warm:
            self._warm.put_nowait(sandbox)
        else:
            sandbox.link.close()

    async def _add_warm(self) -> None:
        sandbox = await self._make()
        if self._fresh is not None or await self._is_ready(sandbox):
            self._warm.put_nowait(sandbox)

    async def _is_ready(self, sandbox: Sandbox) -> bool:
        ready = False
        try:
            ready = bool((await sandbox.link.ask("ready", timeout_s=READY_S)).get("ready"))
        except (SandboxGone, GuestError):
            LOG.warning("a sandbox did not get ready")  # the next creation tries again and reports
        finally:
            if not ready:  # also when the service stops meanwhile
                sandbox.link.close()
        return ready

    async def _keep_fresh(self, sandbox: Sandbox) -> None:
        try:
            folder = self._pictures.new_folder(sandbox.memory_used() + MARGIN)
        except PictureFailed as failed:
            LOG.warning("sandboxes start anew each time: %s", failed)
            return
        try:
            await self.picture(sandbox, folder)
        except PictureFailed as failed:
            LOG.warning("sandboxes start anew each time: %s", failed)
            shutil.rmtree(folder, ignore_errors=True)
            return
        opened = Opened(folder, sandbox.link.next_number)
        await thawed(sandbox.link)
        self._fresh = opened

    async def close(self) -> list[Sandbox]:
        """Create no more, and return the unused ones."""
        for task in self._filling:
            task.cancel()
        if self._filling:
            await asyncio.wait(self._filling)
        if self._fresh is not None:
            shutil.rmtree(self._fresh.folder, ignore_errors=True)
        return [self._warm.get_nowait() for _ in range(self._warm.qsize())]


def _named() -> Sandbox:
    name = "i" + secrets.token_hex(10)
    return Sandbox(name, name)


async def thawed(link: GuestLink, *, rename: bool = False) -> None:
    """Let it go on. SandboxGone, and it is ended, if it does not."""
    try:
        await link.thaw(rename=rename)
    except asyncio.CancelledError:
        link.close()
        raise
    except (TimeoutError, GuestError):
        link.close()
        raise SandboxGone from None
