"""The service's end of the pipes to one sandbox: many calls at once over one pair, all of it bounded.

What comes out of a sandbox was written by untrusted code. An invalid frame, or answers that nobody
takes, end the sandbox or the call, never the service.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

from sandbox.guest import frames

Answer = tuple[dict[str, Any], bytes]
UNREAD_LIMIT = 64 * 1024 * 1024  # of one call; who reads more slowly than that loses the call
READY_S = 30.0
STILL_S = 10.0
PR_SET_PDEATHSIG = 1


class SandboxGone(Exception):
    """The sandbox has ended, before or during the call."""


class GuestError(Exception):
    """The agent refused or failed; `code` is one of Connect's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Call:
    """One request in progress. Iterating gives its answers; cancelling tells the agent to stop."""

    def __init__(self, link: GuestLink, number: int) -> None:
        self._link = link
        self.number = number
        self._unread: asyncio.Queue[Answer | None] = asyncio.Queue()
        self._unread_bytes = 0
        self._over = False

    def deliver(self, header: dict[str, Any], body: bytes, size: int) -> None:
        self._unread_bytes += size
        if self._unread_bytes > UNREAD_LIMIT:
            self.cancel()
            header, body = (
                {"end": True, "error": {"code": "resource_exhausted", "message": "output unread"}},
                b"",
            )
        self._over = bool(header.get("end"))
        self._unread.put_nowait((header, body))

    def gone(self) -> None:
        self._over = True
        self._unread.put_nowait(None)

    def send(self, header: dict[str, Any], body: bytes = b"") -> None:
        self._link.write({"id": self.number, **header}, body)

    async def flow(self) -> None:
        """Wait until the pipe takes more."""
        await self._link.flow()

    def cancel(self) -> None:
        if not self._over:
            self._over = True
            self._link.forget(self.number)
            with contextlib.suppress(SandboxGone):
                self.send({"cancel": True})

    async def __aiter__(self) -> AsyncIterator[Answer]:
        while True:
            answer = await self._unread.get()
            if answer is None:
                raise SandboxGone
            header, body = answer
            self._unread_bytes -= len(body)
            if self._unread.empty():
                self._unread_bytes = 0
            if header.get("end"):
                if (error := header.get("error")) is not None:
                    raise GuestError(str(error.get("code")), str(error.get("message"))[:2000])
                return
            yield header, body


class GuestLink:
    """A started sandbox process and the calls over its pipes. `on_end` hears once that it is over."""

    def __init__(
        self, process: asyncio.subprocess.Process, on_end: Callable[[], None], *, goes_on_at: int = 0
    ) -> None:
        """`goes_on_at`: made from the picture of another, whose next call had that number. It stands still."""
        self._on_end = on_end
        self.next_number = goes_on_at or 1
        self._calls: dict[int, Call] = {}
        self._held: list[bytes] | None = [] if goes_on_at else None
        self.closed = False
        self.join(process)

    def call(self, operation: str, **arguments: Any) -> Call:
        """Begin a request. SandboxGone without a running agent."""
        body = arguments.pop("body", b"")
        call = Call(self, self.next_number)
        self.next_number += 1
        self._calls[call.number] = call
        call.send({"op": operation, **arguments}, body)
        return call

    async def ask(self, operation: str, timeout_s: float = 30.0, **arguments: Any) -> dict[str, Any]:
        """A request with at most one answer that matters."""
        call = self.call(operation, **arguments)
        answer: dict[str, Any] = {}
        try:
            async with asyncio.timeout(timeout_s):
                async for header, _ in call:
                    answer = header
        except TimeoutError:
            raise GuestError("deadline_exceeded", "the sandbox did not answer in time") from None
        finally:
            call.cancel()
        return answer

    def write(self, header: dict[str, Any], body: bytes = b"") -> None:
        if self.closed:
            raise SandboxGone
        frame = frames.encode(header, body)
        if self._held is None:
            self._input.write(frame)
        else:
            self._held.append(frame)

    async def flow(self) -> None:
        try:
            await self._input.drain()
        except OSError:
            raise SandboxGone from None

    def forget(self, number: int) -> None:
        self._calls.pop(number, None)

    async def freeze(self) -> None:
        """The agent stands still, with nothing left in the pipes, until `thaw`. GuestError if it does not."""
        if self._held is not None:
            raise GuestError("unavailable", "the sandbox stands still already")
        call = self.call("freeze")
        self._held = []
        try:
            async with asyncio.timeout(STILL_S):
                async for _ in call:
                    pass
        except TimeoutError:
            self.close()
            raise GuestError("deadline_exceeded", "the sandbox did not stand still and was ended") from None

    @property
    def still(self) -> bool:
        return self._held is not None

    async def thaw(self, *, rename: bool = False) -> None:
        """Resume; queued messages are sent now. SandboxGone without a running agent."""
        held, self._held = self._held or [], None
        if self._reader.done():
            self.close()
        call = self.call("thaw", rename=rename)
        for frame in held:
            self._input.write(frame)
        async with asyncio.timeout(READY_S):
            async for _ in call:
                pass

    async def part(self) -> None:
        """Let the frozen process go, and keep the calls for the one that will be made from its picture."""
        self._input.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await asyncio.wait((self._reader,))

    def join(self, process: asyncio.subprocess.Process) -> None:
        """Speak to this process: the first, or one made from the picture of the one before."""
        assert process.stdin is not None and process.stdout is not None
        self.process, self._input, self._output = process, process.stdin, process.stdout
        self._reader = asyncio.create_task(self._read())

    def take_over(self, number: int) -> Call:
        """A call that the sandbox in the picture had begun."""
        call = self._calls[number] = Call(self, number)
        return call

    def close(self) -> None:
        """End what is read and every call. The sandbox ends by itself, or is killed by its owner."""
        if self.closed:
            return
        self.closed = True
        self._input.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        for call in self._calls.values():
            call.gone()
        self._calls.clear()
        self._on_end()

    async def _read(self) -> None:
        try:
            while True:
                header_size, body_size = frames.lengths(await self._output.readexactly(frames.PREFIX.size))
                header = frames.decode_header(await self._output.readexactly(header_size))
                body = await self._output.readexactly(body_size)
                self._hand_over(header, body, header_size + body_size)
        except (asyncio.IncompleteReadError, frames.FrameError, OSError):
            if self._held is None:  # else it is being taken away, or `thaw` will see
                self.close()

    def _hand_over(self, header: dict[str, Any], body: bytes, size: int) -> None:
        call = self._calls.get(header["id"])
        if call is None:
            return
        if header.get("end"):
            if not isinstance(header.get("error", {}), dict):
                raise frames.FrameError("an error is no object")
            self.forget(call.number)
        call.deliver(header, body, size)


def die_with_parent() -> None:
    """Runs in the child before it becomes the sandbox: no sandbox outlives a killed service."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


async def spawn(command: list[str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=1 << 20,
        start_new_session=True,
        preexec_fn=die_with_parent,
        env={},
    )
