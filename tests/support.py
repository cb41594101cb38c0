"""A running stack for tests: the real supervisor with real parts, in a home of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from operations.embedded.context import StackContext
from operations.embedded.parts import PARTS
from operations.embedded.process import spawn
from operations.embedded.state import Registry, load_credentials
from portico.processes import ProcessIdentity
from portico.settings.home import Home
from portico.settings.load import load_settings
from portico.settings.settings import Settings

START_TIMEOUT_S = 120
CHECKOUT = Path(__file__).parents[1]
INNER = ("temporal", "opa", "s3", "triton")
FREE_PORTS = "port = 0\ngrpc_port = 0\n"
NO_SANDBOX = "sandbox.enabled = false\n"  # the second start of Python in each stack; few tests need it


class StartFailed(AssertionError):
    """`portico up` ended instead of coming up; the message is what it printed."""


class RunningStack:
    """`portico up` as a process, started and stopped by `with`. Whatever happens to the tests, it dies with them."""

    def __init__(
        self, root: Path, *, settings: str = "", only: tuple[str, ...] = (), sandbox: bool = False
    ) -> None:
        self.home = Home(root)
        self.home.make()
        self.only = only
        self.home.settings.write_text(FREE_PORTS + ("" if sandbox else NO_SANDBOX) + settings)
        self._killed: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *ended: object) -> None:
        self.stop()

    @property
    def settings(self) -> Settings:
        return load_settings(self.home)

    @property
    def url(self) -> str:
        return f"http://{self.address('api')}"

    @property
    def output(self) -> str:
        """What the supervisor has printed since its last start."""
        return self._output.read_text() if self._output.exists() else ""

    @property
    def _output(self) -> Path:
        return self.home.logs / "up.txt"

    @property
    def supervisor(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTICO_")}
        return kept | {"PORTICO_HOME": str(self.home.root)}

    def start(self, *, prove: bool = False) -> None:
        """Raises `StartFailed` if it does not come up. `prove`: with the message of the self-check."""
        self._output.unlink(missing_ok=True)
        portico = (sys.executable, "-m", "entrypoints.cli.main")
        command = (*portico, "up", "--only", ",".join(self.only), "--prove" if prove else "--no-prove")
        self._process = spawn(command, environment=self.environment(), log=self._output, cwd=CHECKOUT)
        until(lambda: self._started() or self.supervisor.poll() is not None, timeout_s=START_TIMEOUT_S)
        if self.supervisor.poll() is not None:
            raise StartFailed(self.output)

    def _started(self) -> bool:
        return any(line.startswith("portico ") for line in self.output.splitlines())

    def stop(self) -> None:
        """Ctrl-C, and wait until it is gone."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=60)

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Another `portico` command on this home."""
        command = (sys.executable, "-m", "entrypoints.cli.main", *arguments)
        return subprocess.run(
            command,
            cwd=CHECKOUT,
            env=self.environment(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def parts(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.home.parts.read_bytes())
        return content

    def credentials(self) -> dict[str, str]:
        return load_credentials(self.home)

    def address(self, door: str) -> str:
        return str(self.parts()[door]["address"])

    def pid(self, part: str) -> int:
        return int(self.parts()[part]["pid"])

    def kill(self, part: str, number: int = signal.SIGKILL) -> int:
        """Kill the process of a part; `wait_ready` then waits for the next one."""
        pid = self.pid(part)
        self._killed[part] = pid
        os.kill(pid, number)
        return pid

    def wait_ready(self, part: str, *, timeout_s: float = 30) -> None:
        """Wait until the part answers (a new process of it, where it was killed)."""
        until(lambda: self.is_ready(part), timeout_s=timeout_s)

    def is_ready(self, part: str) -> bool:
        registry = Registry.load(self.home)
        identity = registry.identity(part)
        if (
            identity is None
            or identity.pid == self._killed.get(part)
            or ProcessIdentity.of(identity.pid) is None
        ):
            return False
        context = StackContext(self.home, self.settings, registry, self.credentials())
        ask = next(known for known in PARTS if known.name == part).ready
        with ThreadPoolExecutor(1) as other_thread:  # the caller may be inside an event loop
            return bool(other_thread.submit(asyncio.run, _ask(ask, context, identity.pid)).result())


async def _ask(ask: Callable[[StackContext, int], Any], context: StackContext, pid: int) -> bool:
    return bool(await ask(context, pid))


def until(condition: Callable[[], bool], *, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(0.02)
