"""Calls of functions inside their process: parameters in, whatever the function does, one answer out."""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from portico.tool import File, Person, SandboxAccess, ToolContext, ToolError, ToolSpec, WorkspaceFile
from portico.tools.functions import frames
from portico.tools.functions.line import Caught, Line
from portico.tools.functions.modules import Changed, FunctionFile, broken, where

LONGEST_OUTPUT = 16 << 20
PROGRESS_EVERY_S, PROGRESS_AT_ONCE = 0.1, 20
MESSAGE_LIMIT = 300


class BadOutput(ToolError):
    code = "bad_output"

    def __init__(self, kind: str) -> None:
        super().__init__(f"its answer, a {kind}, is not what it declares, or does not fit into JSON")


class OutputTooLarge(ToolError):
    code = "output_too_large"

    def __init__(self, size: int) -> None:
        super().__init__(f"its answer: {size} bytes, the limit is {LONGEST_OUTPUT}")


class FunctionCalls:
    """What this process was asked to do: one thing after another."""

    def __init__(self, line: Line, scratch: Path) -> None:
        self._line = line
        self._scratch = scratch
        self._files: dict[str, FunctionFile] = {}
        self._threads = threading.active_count()
        self._number = 0

    def describe(self, message: frames.Message) -> frames.Message:
        """The tools of some files, or why there are none."""
        found = {path: described_apart(path, timeout_s=message["timeout_s"]) for path in message["files"]}
        return {"say": "described", "files": found}

    def call(self, message: frames.Message) -> frames.Message:
        with Caught() as caught:
            answer = self._call(message)
        if caught.error is not None:
            answer = self._failed(caught.error, message["file"])
        return {**answer, "clean": self._clean()}

    def _call(self, message: frames.Message) -> frames.Message:
        path = message["file"]
        if path not in self._files:
            with Caught() as caught:
                self._files[path] = FunctionFile(path)
            if caught.error is not None:
                return _answer("tool_failed", f"it cannot be loaded: {broken(caught.error, path)}")
        self._files[path].check(message["digests"])
        spec = self._files[path].specs()[message["tool"]]
        self._number += 1
        scratch = self._scratch / f"call{self._number}"
        scratch.mkdir(mode=0o700)
        try:
            return self._run(spec, message, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _run(self, spec: ToolSpec, message: frames.Message, scratch: Path) -> frames.Message:
        stop = threading.Event()
        self._line.on_stop = stop.set
        arguments = spec.validate(message["parameters"], files=self._file)
        if spec.context_parameter:
            arguments[spec.context_parameter] = self._context(message, stop, scratch)
        assert spec.function is not None
        if spec.is_async:
            output = asyncio.run(_until_stopped(spec.function, arguments, self._line, stop))
        else:
            output = spec.function(**arguments)
        self._line.leave_if_forked()
        return {"say": "result", "output": written(spec, output, keep=self._keep_file)}

    def _failed(self, error: BaseException, path: str) -> frames.Message:
        """The words of what a tool raised on purpose. Those of anything else stay out: they may hold secrets."""
        if isinstance(error, Changed):
            return _answer("tool_changed", "the function has changed since this was decided")
        if isinstance(error, ToolError):
            return _answer(error.code, error.message)
        if isinstance(error, ModuleNotFoundError):
            return _answer("tool_failed", f"it needs the module '{error.name}', which is not there")
        if isinstance(error, MemoryError):
            return _answer("tool_failed", f"it ran out of memory at {where(error, path)}")
        return _answer("tool_failed", f"{type(error).__name__} at {where(error, path)}")

    def _clean(self) -> bool:
        """Whether nothing of the call is left: no thread, no process."""
        return threading.active_count() <= self._threads and not _children()

    # --- what the context offers --------------------------------------------------------------------------

    def _context(self, message: frames.Message, stop: threading.Event, scratch: Path) -> ToolContext:
        sandbox = message.get("sandbox")
        return ToolContext(
            invocation_id=message["invocation_id"],
            person=Person(**message["person"]),
            language=message["language"],
            report=_Progress(self._line).report,
            stop=stop,
            workspace=RemoteWorkspace(self._line),
            scratch=scratch,
            proxy_url=message.get("proxy_url", ""),
            sandbox=SandboxAccess(**sandbox) if sandbox else None,
            secrets=lambda name: str(self._line.ask("secret", name=name)[0]["value"]),
            keep=self._keep,
        )

    def _keep(self, name: str, data: bytes, media_type: str) -> None:
        self._line.ask("artifact", bytes(data), name=name, media_type=media_type)

    def _keep_file(self, value: Any) -> dict[str, Any]:
        """A file in the answer becomes an artifact; anything else has no place in JSON."""
        if not isinstance(value, File):
            raise ValueError(f"a {type(value).__name__}")
        kept, _ = self._line.ask("artifact", value.data, name=value.name, media_type=value.media_type)
        return dict(kept["artifact"])

    def _file(self, *, path: str = "", artifact: str = "") -> File:
        found, data = self._line.ask("file", path=path, artifact=artifact)
        return File(str(found["name"]), data, str(found["media_type"]))


def described_apart(path: str, *, timeout_s: float) -> dict[str, Any]:
    """Loads the file in a copy of this process: what it does while it is loaded touches no other file."""
    reading, writing = os.pipe()
    copy = os.fork()
    if not copy:
        os.close(reading)
        with os.fdopen(writing, "wb") as out, Caught():
            out.write(json.dumps(_described(path)).encode())
        os._exit(0)
    os.close(writing)
    said = _read_all(reading, timeout_s)
    with Caught():
        os.kill(copy, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
    if said is None:
        return {"broken": f"{Path(path).name}: it is not loaded after {timeout_s:g} s"}
    if not said:
        return {"broken": f"{Path(path).name}: loading it ends its process ({status})"}
    return dict(json.loads(said))


def _described(path: str) -> dict[str, Any]:
    with Caught() as caught:
        loaded = FunctionFile(path)
        specs = [spec.to_json() for spec in loaded.specs().values()]
        return {"specs": specs, "digest": loaded.digest, "beside": loaded.beside()}
    assert caught.error is not None
    return {"broken": broken(caught.error, path)}


def _read_all(descriptor: int, timeout_s: float) -> bytes | None:
    """All that comes until its end; None where the end does not come in time."""
    end = time.monotonic() + timeout_s
    said = bytearray()
    with os.fdopen(descriptor, "rb", buffering=0) as reading:
        while select.select([reading], [], [], max(end - time.monotonic(), 0))[0]:
            part = reading.read(1 << 16)
            if not part:
                return bytes(said)
            said += part
    return None


class RemoteWorkspace:
    """The person's files, which the worker reads and writes."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def list(self, prefix: str = "") -> list[WorkspaceFile]:
        answer, _ = self._line.ask("workspace.list", prefix=prefix)
        return [_file(one) for one in answer["files"]]

    def read(self, path: str) -> bytes:
        return self._line.ask("workspace.read", path=path)[1]

    def write(self, path: str, data: bytes, media_type: str = "") -> WorkspaceFile:
        answer, _ = self._line.ask("workspace.write", bytes(data), path=path, media_type=media_type)
        return _file(answer["file"])

    def move(self, path: str, to: str) -> WorkspaceFile:
        return _file(self._line.ask("workspace.move", path=path, to=to)[0]["file"])

    def delete(self, path: str) -> None:
        self._line.ask("workspace.delete", path=path)

    def exists(self, path: str) -> bool:
        return bool(self._line.ask("workspace.exists", path=path)[0]["exists"])


class _Progress:
    """Tells the worker ten times a second at most, but some words at once: those before a long silence count."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._left = float(PROGRESS_AT_ONCE)
        self._counted_at = time.monotonic()

    def report(self, text: str, fraction: float | None) -> None:
        now = time.monotonic()
        self._left = min(PROGRESS_AT_ONCE, self._left + (now - self._counted_at) / PROGRESS_EVERY_S)
        self._counted_at = now
        if self._left < 1:
            return
        self._left -= 1
        share = min(max(float(fraction), 0.0), 1.0) if fraction is not None else None
        self._line.send({"say": "progress", "text": str(text)[:MESSAGE_LIMIT], "fraction": share})


async def _until_stopped(
    function: Callable[..., Any], arguments: dict[str, Any], line: Line, stop: threading.Event
) -> Any:
    loop = asyncio.get_running_loop()
    work = asyncio.ensure_future(function(**arguments))

    def on_stop() -> None:
        stop.set()
        loop.call_soon_threadsafe(work.cancel)

    line.on_stop = on_stop
    try:
        return await work
    finally:
        line.on_stop = stop.set


def written(spec: ToolSpec, output: Any, *, keep: Callable[[Any], Any]) -> Any:
    """The answer as JSON has it; `keep` makes a reference of a file. Raises `BadOutput` or `OutputTooLarge`."""
    try:
        text = to_json(_as_declared(spec, output), inf_nan_mode="null", fallback=keep, context={"keep": keep})
    except (PydanticSerializationError, ValidationError, ValueError):
        raise BadOutput(type(output).__name__) from None
    if len(text) > LONGEST_OUTPUT:
        raise OutputTooLarge(len(text))
    return json.loads(text)


def _as_declared(spec: ToolSpec, output: Any) -> Any:
    """The output, if it is of the type that the function declares. Raises `ValidationError`."""
    if spec.returns is None:
        return output
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(spec.returns)
    except PydanticUserError:
        return output
    return adapter.validate_python(output)


def _children() -> bool:
    tasks = Path("/proc/self/task")
    try:
        return any((tasks / task / "children").read_text() for task in os.listdir(tasks))
    except OSError:  # a kernel without that file; the worker looks for processes itself when it ends this one
        return False


def _answer(code: str, message: str) -> frames.Message:
    return {"say": "failed", "code": code, "message": " ".join(message.split())[:MESSAGE_LIMIT]}


def _file(one: dict[str, Any]) -> WorkspaceFile:
    return WorkspaceFile(
        path=one["path"],
        size_bytes=one["size_bytes"],
        media_type=one["media_type"],
        modified_at=datetime.fromisoformat(one["modified_at"]),
    )
