"""Process 1 of every sandbox: answers the service's frames with contexts, commands and files.

It runs as the guest's own unprivileged user and holds nothing worth taking: who breaks it breaks their own sandbox.
It ends when its standard input does, and the whole sandbox with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sandbox.guest import files, frames
from sandbox.guest.contexts import Contexts
from sandbox.guest.outward import Outward
from sandbox.guest.processes import Processes
from sandbox.guest.watching import Watch

Request = dict[str, Any]
ENVIRONMENT = dict(os.environ)  # noqa: TID251 - the guest's own


class AgentCall:
    """One request in progress: where its answers go, and the frames that follow it."""

    def __init__(self, number: int, output: int) -> None:
        self.number = number
        self._output = output
        self.more: asyncio.Queue[tuple[Request, bytes]] = asyncio.Queue(64)

    def send(self, header: Request, body: bytes = b"") -> None:
        rest = memoryview(frames.encode({"id": self.number, **header}, body))
        while rest:
            rest = rest[os.write(self._output, rest) :]


class Agent:
    """The operations, by the name that a request carries."""

    def __init__(self) -> None:
        self.contexts = Contexts(ENVIRONMENT)
        self.processes = Processes()
        self._operations: dict[str, Callable[[AgentCall, Request], Awaitable[None]]] = {
            "ready": self._ready,
            "execute": self._execute,
            "contexts": self._contexts,
            "start": self._start,
            "process": self._process,
            "read": self._read,
            "write": self._write,
            "file": self._file,
            "disk": self._disk,
            "watch": self._watch,
            "outward": self._go_outward,
        }
        self._outward: asyncio.Task[None] | None = None

    async def answer(self, call: AgentCall, request: Request) -> None:
        """Every request ends with one frame that says so."""
        try:
            await self._operations[request["op"]](call, request)
            call.send({"end": True})
        except files.FileRefused as refused:
            call.send({"end": True, "error": {"code": refused.code, "message": str(refused)}})
        except KeyError as missing:
            call.send(
                {"end": True, "error": {"code": "not_found", "message": f"{missing.args[0]} was not found"}}
            )
        except OSError as error:
            call.send({"end": True, "error": {"code": _code(error), "message": error.strerror or str(error)}})
        except (ValueError, RuntimeError) as error:
            call.send({"end": True, "error": {"code": "invalid_argument", "message": str(error)}})

    async def _ready(self, call: AgentCall, request: Request) -> None:
        """The default context has started."""
        kernel = self.contexts.kernel_of(self.contexts.get(None, None))
        line = await kernel.lines.get()
        call.send({"ready": line is not None})

    async def _execute(self, call: AgentCall, request: Request) -> None:
        context = self.contexts.get(request["context"], request["language"])
        cell = {"code": request["code"], "env": request["env"]}
        await self.contexts.execute(context, cell, lambda event: call.send({"event": event}))

    async def _contexts(self, call: AgentCall, request: Request) -> None:
        action = request["action"]
        if action == "list":
            call.send({"contexts": [context.described() for context in self.contexts.all()]})
        elif action == "create":
            Path(request["cwd"]).mkdir(parents=True, exist_ok=True)
            call.send({"context": self.contexts.create(request["language"], request["cwd"]).described()})
        elif action == "restart":
            self.contexts.restart(request["context"])
        else:
            self.contexts.remove(request["context"])

    async def _start(self, call: AgentCall, request: Request) -> None:
        request["env"] = {**ENVIRONMENT, **request["env"]}
        request["cwd"] = str(files.resolve(request["cwd"] or "."))
        try:
            command = self.processes.start(request, call.send)
        except (OSError, ValueError) as error:
            raise files.FileRefused("invalid_argument", f"cannot start: {error}") from error
        call.send({"pid": command.popen.pid})
        try:
            call.send({"exit": await self.processes.finish(command)})
        except asyncio.CancelledError:
            with contextlib.suppress(KeyError, ProcessLookupError):
                self.processes.signal(command.popen.pid, "SIGNAL_SIGKILL")
            raise

    async def _process(self, call: AgentCall, request: Request) -> None:
        action, pid = request["action"], request["pid"]
        if action == "input":
            await self.processes.feed(pid, request["body"])
        elif action == "close":
            self.processes.close_stdin(pid)
        elif action == "signal":
            self.processes.signal(pid, request["signal"])
        else:
            self.processes.resize(pid, request["cols"], request["rows"])

    async def _read(self, call: AgentCall, request: Request) -> None:
        descriptor = files.open_to_read(files.resolve(request["path"]))
        try:
            data = os.read(descriptor, frames.CHUNK)  # what cannot be read is refused before anything is sent
            call.send({"size": os.fstat(descriptor).st_size})
            while data:
                call.send({}, data)
                await asyncio.sleep(0)
                data = os.read(descriptor, frames.CHUNK)
        finally:
            os.close(descriptor)

    async def _write(self, call: AgentCall, request: Request) -> None:
        path = files.resolve(request["path"])
        descriptor = files.open_to_write(path)
        try:
            while True:
                header, body = await call.more.get()
                rest = memoryview(body)
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                if header.get("last"):
                    break
        finally:
            os.close(descriptor)
        files.write_metadata(path, request["metadata"])
        call.send({"entry": files.entry(path)})

    async def _disk(self, call: AgentCall, request: Request) -> None:
        usage = os.statvfs(files.HOME)
        call.send({"used": (usage.f_blocks - usage.f_bfree) * usage.f_frsize})

    async def _watch(self, call: AgentCall, request: Request) -> None:
        """Until the call is cancelled, or the folder is gone."""
        watch = Watch(files.resolve(request["path"]), recursive=request["recursive"])
        call.send({"watching": True})
        async for kind, name in watch:
            entry = watch.described(name) if request["entry"] else None
            event = {"name": name, "type": f"EVENT_TYPE_{kind}", **({"entry": entry} if entry else {})}
            call.send({"event": event})

    async def _go_outward(self, call: AgentCall, request: Request) -> None:
        """A way out; one that the picture of another sandbox had leads nowhere and is closed."""
        if self._outward is not None:
            self._outward.cancel()
            await asyncio.wait((self._outward,))
        ENVIRONMENT.update(request["env"])
        self._outward = asyncio.current_task()
        await Outward(call.send).serve(call.more.get)

    async def _file(self, call: AgentCall, request: Request) -> None:
        action, path = request["action"], files.resolve(request["path"])
        if action == "stat":
            call.send({"entry": files.entry(path)})
        elif action == "list":
            call.send({"entries": files.listed(path, request["depth"])})
        elif action == "make":
            call.send({"entry": files.make_directory(path)})
        elif action == "move":
            call.send({"entry": files.move(path, files.resolve(request["destination"]))})
        else:
            files.remove(path)


def _code(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EAGAIN, errno.ENOMEM):
        return "resource_exhausted"
    if error.errno == errno.ENOENT:
        return "not_found"
    return (
        "permission_denied" if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else "invalid_argument"
    )


async def serve(source: asyncio.StreamReader, output: int) -> None:
    agent = Agent()
    running: dict[int, tuple[AgentCall, asyncio.Task[None]]] = {}
    while True:
        header_size, body_size = frames.lengths(await source.readexactly(frames.PREFIX.size))
        header = frames.decode_header(await source.readexactly(header_size))
        body = await source.readexactly(body_size)
        number = header["id"]
        if header.get("op") == "freeze":
            thawed = stand_still(number, output)
            agent.contexts.renew()
            if thawed.get("rename"):
                agent.contexts.rename()
            AgentCall(thawed["id"], output).send({"end": True})
        elif header.get("cancel"):
            if number in running:
                running[number][1].cancel()
        elif number in running:
            await running[number][0].more.put((header, body))
        else:
            call = AgentCall(number, output)
            task = asyncio.create_task(agent.answer(call, {**header, "body": body}))
            running[number] = (call, task)
            task.add_done_callback(lambda _, number=number: running.pop(number, None))  # type: ignore[misc]


def stand_still(number: int, output: int) -> Request:
    """Say that nothing more will be written, and do nothing until a frame comes: in between all this is copied.

    The pipes are empty then in both directions, so a copy goes on with pipes of its own.
    """
    AgentCall(number, output).send({"end": True})
    prefix = _read_exactly(frames.PREFIX.size)
    header_size, _ = frames.lengths(prefix)
    return frames.decode_header(_read_exactly(header_size))


def _read_exactly(size: int) -> bytes:
    data = b""
    while len(data) < size:
        select.select([0], [], [])
        more = os.read(0, size - len(data))
        if not more:
            sys.exit(0)
        data += more
    return data


def offer_fonts() -> None:
    """Matplotlib's list of fonts comes with the image: making it takes a second."""
    folder = Path("/home/user/.cache/matplotlib")
    folder.mkdir(parents=True, exist_ok=True)
    for file in Path("/opt/env/share/matplotlib").glob("fontlist*.json"):
        shutil.copyfile(file, folder / file.name)


async def main() -> None:
    offer_fonts()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    output = os.dup(1)
    os.dup2(2, 1)
    source = asyncio.StreamReader(limit=1 << 20)
    protocol = asyncio.StreamReaderProtocol(source)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(0, "rb", closefd=False))
    with contextlib.suppress(asyncio.IncompleteReadError):
        await serve(source, output)


if __name__ == "__main__":
    asyncio.run(main())
    sys.exit(0)
