"""Real worker processes beside a `World`: they share its keys, accounts and parts, and may be killed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from operations.embedded.process import signal_session, spawn
from portico.settings.home import Home
from tests.support import CHECKOUT, RunningStack
from tests.workflows.harness import World, eventually

START_TIMEOUT_S = 60.0
SLOW = '''
"""A tool that takes until a file is there."""
import time
from pathlib import Path

from portico.tool import ToolContext, tool


@tool(effects="none", risk="low", timeout_s=120, repeatable={repeatable})
def slow(context: ToolContext, until: str) -> str:
    """Wait until a file is there.

    Args:
        until: its path
    """
    Path(until + ".began").open("a").write("x")
    while not Path(until).exists():
        time.sleep(0.05)
    return "it is there"
'''


@dataclass
class WorkerProcess:
    """`python -m entrypoints.serve.worker`, with a home of its own or another's."""

    home: Home
    process: subprocess.Popen[bytes]
    log: Path

    async def ready(self) -> None:
        def said() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return "worker.ready" in self.log.read_text()

        await eventually(said, timeout_s=START_TIMEOUT_S, what="a ready worker")

    def kill(self) -> None:
        """Without a warning, with all that it started."""
        signal_session(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """As a service manager does it; its end must be clean."""
        if self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(30) == 0, self.log.read_text()


@dataclass
class Workers:
    """The worker processes of one world."""

    stack: RunningStack
    world: World
    root: Path
    started: list[WorkerProcess] = field(default_factory=list)

    def start(self, name: str = "", *, own_home: bool = False, **temporal: Any) -> WorkerProcess:
        """`temporal`: settings of that table, such as `build_id` and `queues`."""
        home = self._home(own_home)
        log = self.root / f"worker-{len(self.started)}{name}.log"
        process = spawn(
            (sys.executable, "-m", "entrypoints.serve.worker"),
            environment=self.environment(home, **temporal),
            log=log,
            cwd=CHECKOUT,
        )
        self.started.append(WorkerProcess(home, process, log))
        return self.started[-1]

    def environment(self, home: Home | None = None, **temporal: Any) -> dict[str, str]:
        settings = self.world.ground.settings.model_dump(mode="json", exclude_unset=True)
        settings["temporal"] = settings.get("temporal", {}) | temporal
        if (url := self.world.ground.settings.database.url) is not None:
            settings["database"] = {"url": url.get_secret_value()}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTICO_")}
        return kept | variables(settings) | {"PORTICO_HOME": str((home or self.world.ground.home).root)}

    def _home(self, own: bool) -> Home:
        first = self.world.ground.home
        home = Home(self.root / f"home-{len(self.started)}") if own else first
        home.make()
        if own:
            for path in (first.keyring, first.master_key):
                shutil.copy(path, home.root / path.relative_to(first.root))
            home.models.symlink_to(self.stack.home.models)
            if first.functions.exists():
                shutil.copytree(first.functions, home.functions, dirs_exist_ok=True)
        self.know_parts(home)
        return home

    def know_parts(self, home: Home) -> None:
        for path in (self.stack.home.parts, self.stack.home.credentials):
            shutil.copy(path, home.root / path.relative_to(self.stack.home.root))

    def spawn(self, *arguments: str, **temporal: Any) -> subprocess.Popen[bytes]:
        """A `portico` command that may be killed."""
        command = (sys.executable, "-m", "entrypoints.cli.main", *arguments)
        return spawn(
            command, environment=self.environment(**temporal), log=self.root / "command.log", cwd=CHECKOUT
        )

    async def command(self, *arguments: str, **temporal: Any) -> tuple[int, str, str]:
        """Another `portico` command, with the same settings: its exit code, what it printed, and why not."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "entrypoints.cli.main", *arguments),
            cwd=CHECKOUT,
            env=self.environment(**temporal),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 120)
        return process.returncode or 0, out.decode(), err.decode()

    async def versions(self) -> dict[str, Any]:
        code, out, err = await self.command("deploy", "versions", "--json")
        assert code == 0, err
        found: dict[str, Any] = json.loads(out)
        return found

    def write_slow_tool(self, *, repeatable: bool = False) -> None:
        functions = self.world.ground.home.functions
        functions.mkdir(parents=True, exist_ok=True)
        (functions / "slow.py").write_text(SLOW.format(repeatable=repeatable).lstrip())

    def stop(self) -> None:
        for worker in self.started:
            worker.stop()


@contextmanager
def workers_of(world: World, stack: RunningStack, root: Path) -> Iterator[Workers]:
    root.mkdir(parents=True, exist_ok=True)
    workers = Workers(stack, world, root)
    workers.know_parts(world.ground.home)
    try:
        yield workers
    finally:
        for worker in workers.started:
            if worker.process.poll() is None:
                worker.kill()


def variables(table: Mapping[str, Any], prefix: str = "PORTICO_") -> dict[str, str]:
    """Settings as environment variables."""
    found: dict[str, str] = {}
    for key, value in table.items():
        name = prefix + key.upper()
        if isinstance(value, Mapping):
            found |= variables(value, name + "__")
        elif isinstance(value, str):
            found[name] = value
        else:
            found[name] = json.dumps(value)
    return found
