"""A small HTTP server in its own thread, on a free port of 127.0.0.1: the base of the scripted platforms."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web


@dataclass(frozen=True)
class Step:
    """What happens to one call instead of the usual. `taken`: whether the call has its effect anyway."""

    status: int | None = None
    body: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drop: bool = False
    taken: bool = False


def drop(*, taken: bool = True) -> Step:
    """Close the connection without an answer."""
    return Step(drop=True, taken=taken)


def delay(seconds: float) -> Step:
    """Answer as usual, but late."""
    return Step(delay_s=seconds, taken=True)


def status(code: int, *, body: dict[str, Any] | None = None, taken: bool = False) -> Step:
    return Step(status=code, body=body, taken=taken)


class FakeServer:
    """Start with `with`. Every wait has a limit and fails loudly."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self.port = port
        self._changed = threading.Condition()
        self._scripts: defaultdict[str, deque[Step]] = defaultdict(deque)
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def routes(self, app: web.Application) -> None:
        raise NotImplementedError

    def script(self, name: str, *steps: Step, times: int = 1) -> None:
        """The next calls of that name go by these steps, in order; then all is as usual again."""
        with self._changed:
            self._scripts[name].extend(list(steps) * times)

    def clear_script(self) -> None:
        with self._changed:
            self._scripts.clear()

    def next_step(self, name: str) -> Step | None:
        with self._changed:
            waiting = self._scripts[name] or self._scripts["*"]
            return waiting.popleft() if waiting else None

    def changed(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def wait_until(self, true: Callable[[], Any], *, timeout_s: float = 10.0, what: str = "the state") -> Any:
        """What `true` gives, once it is true. For threads without a running event loop."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not (found := true()):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"{what} did not come within {timeout_s} s")
                self._changed.wait(left)
        return found

    async def until(
        self, true: Callable[[], Any], *, timeout_s: float = 10.0, what: str = "the state"
    ) -> Any:
        """The same for coroutines."""
        return await asyncio.to_thread(self.wait_until, true, timeout_s=timeout_s, what=what)

    def start(self) -> Self:
        self._thread = threading.Thread(target=self._serve, name=type(self).__name__, daemon=True)
        self._thread.start()
        if not self._started.wait(10):
            raise TimeoutError(f"{type(self).__name__} did not start")
        return self

    def stop(self) -> None:
        if self._loop is None or self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _serve(self) -> None:
        loop = asyncio.new_event_loop()
        self._loop = loop
        asyncio.set_event_loop(loop)
        loop.run_until_complete(self._open())
        self._started.set()
        try:
            loop.run_forever()
        finally:
            if self._runner is not None:
                loop.run_until_complete(self._runner.cleanup())
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def _open(self) -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        self.routes(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
