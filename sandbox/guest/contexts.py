"""Code contexts inside the sandbox: one kernel process each, one cell at a time."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sandbox.guest.kernels import INTERRUPT_AGAIN_S, INTERRUPT_KILL_S, PROGRAMS, Kernel

Emit = Callable[[dict[str, Any]], None]
HOME = "/home/user"
OUTPUT_LIMIT = 32 * 1024 * 1024  # of one cell; a flood ends the cell, not the sandbox
CONTEXTS_LIMIT = 32


class ContextLost(Exception):
    """The kernel process ended in the middle of a cell."""


@dataclass
class CodeContext:
    """A kernel with a name, a language and a folder. The kernel starts with the first cell and may be replaced."""

    id: str
    language: str
    cwd: str
    kernel: Kernel | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def described(self) -> dict[str, str]:
        return {"id": self.id, "language": self.language, "cwd": self.cwd}


class Contexts:
    """Every context of this sandbox, and which of them code without a context runs in, by language."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._all: dict[str, CodeContext] = {}
        self._defaults = {language: self._add(language, HOME) for language in ("python", "javascript")}
        self.kernel_of(self._defaults["python"])

    def create(self, language: str, cwd: str) -> CodeContext:
        """A context with its kernel starting. ValueError for what is no language, or one too many."""
        if language not in PROGRAMS:
            raise ValueError(f"Language {language[:40]} is not supported")
        if len(self._all) >= CONTEXTS_LIMIT:
            raise ValueError(f"a sandbox holds at most {CONTEXTS_LIMIT} contexts")
        context = self._add(language, cwd)
        self.kernel_of(context)
        return context

    def _add(self, language: str, cwd: str) -> CodeContext:
        context = CodeContext(str(uuid.uuid4()), language, cwd)
        self._all[context.id] = context
        return context

    def kernel_of(self, context: CodeContext) -> Kernel:
        if context.kernel is None:
            context.kernel = Kernel(context.language, context.cwd, self._environment)
        return context.kernel

    def all(self) -> list[CodeContext]:
        return list(self._all.values())

    def get(self, wanted: str | None, language: str | None) -> CodeContext:
        """KeyError if there is none of that id, or no such language."""
        if wanted:
            return self._all[wanted]
        spoken = language or "python"
        if spoken not in self._defaults and spoken in PROGRAMS:
            self._defaults[spoken] = self._add(spoken, HOME)
        return self._defaults[spoken]

    def remove(self, wanted: str) -> None:
        context = self._all.pop(wanted)
        if context.kernel is not None:
            context.kernel.close()
        for language, default in self._defaults.items():
            if default is context:
                self._defaults[language] = self._add(language, HOME)

    def restart(self, wanted: str) -> None:
        context = self._all[wanted]
        if context.kernel is not None:
            context.kernel.close()
        context.kernel = None
        self.kernel_of(context)

    def rename(self) -> None:
        """Names of its own for a sandbox that was made from the picture of another."""
        contexts = list(self._all.values())
        self._all.clear()
        for context in contexts:
            context.id = str(uuid.uuid4())
            self._all[context.id] = context

    def renew(self) -> None:
        """This is a copy, or may have been copied: what makes random numbers begins again."""
        for context in self._all.values():
            if context.kernel is not None:
                context.kernel.renew()

    async def execute(self, context: CodeContext, request: dict[str, Any], emit: Emit) -> None:
        """Run one cell. Cancelling interrupts it, and replaces a kernel that will not stop."""
        async with context.turn:
            kernel = self.kernel_of(context)
            try:
                await self._run(kernel, request, emit)
            except asyncio.CancelledError:
                kernel.on_output = None
                if not await _interrupted(kernel):
                    self._replace(context, kernel)
                raise
            except ContextLost as lost:
                self._replace(context, kernel)
                emit({"type": "error", "name": "ContextLost", "value": str(lost), "traceback": str(lost)})
            finally:
                kernel.on_output = None

    def _replace(self, context: CodeContext, kernel: Kernel) -> None:
        if context.kernel is kernel and context.id in self._all:
            kernel.close()
            context.kernel = Kernel(context.language, context.cwd, self._environment)

    async def _run(self, kernel: Kernel, request: dict[str, Any], emit: Emit) -> None:
        written = 0

        def on_output(name: str, text: str) -> None:
            nonlocal written
            written += len(text)
            if written <= OUTPUT_LIMIT:
                emit({"type": name, "text": text})
            elif not flooded.done():
                flooded.set_result(None)

        flooded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        kernel.on_output = on_output
        try:
            kernel.ask(request)
        except OSError as error:
            raise ContextLost("the kernel has ended; a new one was started and its state is gone") from error
        await self._until_done(kernel, emit, flooded)

    async def _until_done(self, kernel: Kernel, emit: Emit, flooded: asyncio.Future[None]) -> None:
        while True:
            line = asyncio.ensure_future(kernel.lines.get())
            await asyncio.wait((line, flooded), return_when=asyncio.FIRST_COMPLETED)
            if not line.done():
                line.cancel()
                kernel.on_output = None
                text = f"the cell was stopped: it wrote more than {OUTPUT_LIMIT} characters"
                emit({"type": "error", "name": "OutputLimitExceeded", "value": text, "traceback": text})
                if not await _interrupted(kernel):
                    raise ContextLost("the cell did not stop; a new kernel was started and its state is gone")
                return
            event = line.result()
            if event is None:
                raise ContextLost("the kernel has ended; a new one was started and its state is gone")
            if event.get("type") == "done":
                kernel.drain()
                return
            if event.get("type") != "ready":
                emit(event)


async def _interrupted(kernel: Kernel) -> bool:
    """Whether the running cell ended after being asked to."""
    for patience in (INTERRUPT_AGAIN_S, INTERRUPT_KILL_S - INTERRUPT_AGAIN_S):
        kernel.interrupt()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while (event := await kernel.lines.get()) is not None:
                    if event.get("type") == "done":
                        return True
                return False
    return False
