"""The supervisor: brings the parts up in dependency order, keeps them up, takes them down in reverse.

One process, one thread. Its children die with it; what a killed one left behind is ended at the next start.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from operations.embedded import sandbox
from operations.embedded.context import StackContext
from operations.embedded.parts import EDGE_ADDRESSES, Part, choose
from operations.embedded.process import end_leftover
from operations.embedded.runner import Report, Runner
from operations.embedded.state import Registry, SupervisorLock, load_credentials
from operations.ports import edge_port, inner_address
from operations.rules.bundle import PolicyWatcher
from operations.setup.binaries import OPA
from operations.setup.steps import sandbox_is_built
from portico.crypto.keyring import open_keyring
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.settings.tls import server_context

POLICY_CHECK_S = 2.0
LOG_CHECK_S = 60.0


class Stack:
    """All parts of one home."""

    def __init__(self, context: StackContext, parts: tuple[Part, ...], report: Report) -> None:
        self.context = context
        self.runners = {part.name: Runner(part, context, report) for part in parts if not part.late}
        self.late = {part.name: Runner(part, context, report) for part in parts if part.late}
        self.report = report

    async def run(self, announce: Callable[[Stack], Awaitable[None]]) -> None:
        """Start everything, announce it, and keep it up until SIGINT, SIGTERM or SIGHUP.

        Raises `NotUp` where a part does not come up; whatever was started is stopped first.
        """
        stopping = _stop_signals()
        tasks: list[asyncio.Task[None]] = []
        try:
            if not await _unless(stopping, self._start_all()):
                return
            tasks = [asyncio.create_task(runner.keep()) for runner in self.runners.values()]
            tasks += [asyncio.create_task(self._watch_policies()), asyncio.create_task(self._watch_logs())]
            await _unless(stopping, announce(self))
            tasks += [asyncio.create_task(self._keep_late(runner)) for runner in self.late.values()]
            await _unless(stopping, asyncio.gather(*tasks))
        finally:
            await _cancel(tasks)
            stopping.clear()
            if not await _unless(stopping, self._stop_all()):  # asked a second time
                for runner in (*self.runners.values(), *self.late.values()):
                    runner.kill()

    async def _start_all(self) -> None:
        tasks = {name: asyncio.create_task(self._start(runner)) for name, runner in self.runners.items()}
        try:
            await asyncio.gather(*tasks.values())
        finally:
            await _cancel(list(tasks.values()))

    async def _start(self, runner: Runner) -> None:
        for name in runner.part.needs:
            if name in self.runners:
                await self.runners[name].up.wait()
        await runner.start()

    async def _keep_late(self, runner: Runner) -> None:
        """The sandbox is the one part that the rest can do without."""
        if sandbox_is_built():
            sandbox.note(self.context, "the sandbox is being started")
        else:
            sandbox.note(self.context, "the sandbox is being built, which takes a minute or two")
            self.report(runner.part.name, f"is being built in the background, log: {runner.log}")
        await runner.keep_late(lambda why: sandbox.note(self.context, why), sandbox.reason)

    async def _stop_all(self) -> None:
        """Our own processes first, then the servers that they use; each group at once."""
        ours = [runner for runner in self.runners.values() if runner.part.needs]
        servers = [runner for runner in self.runners.values() if not runner.part.needs]
        servers += self.late.values()
        for group in (ours, servers):
            await asyncio.gather(*(runner.stop() for runner in group))

    async def _watch_policies(self) -> None:
        """Rebuild the bundle when a rule changes; OPA takes the new file by itself."""
        if "opa" not in self.runners:
            return
        watcher = PolicyWatcher(self.context.home, self.context.credentials["opa_token"], OPA.path)
        while True:
            await asyncio.sleep(POLICY_CHECK_S)
            try:
                change = watcher.poll()
            except OSError as error:
                self.report("opa", f"the rules cannot be read: {error}")
                continue
            if change is not None:
                self.report("opa", change.problem or "new rules are in force")

    async def _watch_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_CHECK_S)
            for runner in (*self.runners.values(), *self.late.values()):
                runner.limit_log()


def prepare(
    home: Home,
    settings: Settings,
    *,
    only: tuple[str, ...],
    report: Report,
    config: Path | None = None,
    port: int | None = None,
) -> tuple[Stack, SupervisorLock]:
    """Take the lock, end leftovers, choose ports. Raises `Misconfigured`."""
    home.make()
    server_context(settings.tls)  # fails before anything is started
    lock = SupervisorLock(home)
    lock.acquire()
    open_keyring(home)
    registry = Registry.load(home)
    _end_leftovers(registry, report)
    parts = choose(only, settings)
    if port is not None:
        settings = settings.model_copy(update={"port": port})
    insist = port is not None or "port" in settings.model_fields_set
    _choose_edge(registry, settings, insist=insist)
    for part in parts:
        for name in part.addresses:
            if name not in EDGE_ADDRESSES:
                registry.set_address(name, inner_address(registry.address(name)))
    context = StackContext(home, settings, registry, load_credentials(home), config)
    sandbox.note(context, "the sandbox has not been started yet")
    return Stack(context, parts, report), lock


def _end_leftovers(registry: Registry, report: Report) -> None:
    seen: set[int] = set()
    for name in registry.names():
        identity = registry.identity(name)
        if identity is None or identity.pid in seen:
            continue
        seen.add(identity.pid)
        if end_leftover(identity):
            report(name, "ended what a killed stack had left")
        registry.set_running(name, (), None)


def _choose_edge(registry: Registry, settings: Settings, *, insist: bool) -> None:
    """The edge's port, and gRPC's after it."""
    wanted = {
        "api": (settings.port, insist),
        "api-grpc": (settings.grpc_port, "grpc_port" in settings.model_fields_set),
    }
    taken: set[int] = set()
    for name, (port, must) in wanted.items():
        known = registry.address(name)
        chosen = edge_port(
            port, host=settings.host, insist=must, known=int(known.rpartition(":")[2]) if known else None
        )
        if chosen in taken:
            chosen = edge_port(chosen + 1, host=settings.host, insist=False, known=None)
        taken.add(chosen)
        registry.set_address(name, f"{settings.host}:{chosen}")


def _stop_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    return stopping


async def _unless(stopping: asyncio.Event, work: Awaitable[Any]) -> bool:
    """Do the work; false if it was broken off because the stack is to stop."""
    working = asyncio.ensure_future(work)
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait([working, waiting], return_when=asyncio.FIRST_COMPLETED)
    await _cancel([waiting])
    if not working.done():
        await _cancel([working])
        return False
    working.result()
    return True


async def _cancel(tasks: Sequence[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
