"""Functions as a source of tools: files of folders, described by a process, called in warm processes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from portico.contracts.steps import ToolCall
from portico.logs import logger
from portico.tool import AskAgain, BadParameters, ToolError, ToolFailed, ToolSpec
from portico.tools.catalog import RunningTool
from portico.tools.functions import frames
from portico.tools.functions.descriptions import Descriptions
from portico.tools.functions.environments import Environments
from portico.tools.functions.folders import Folders, FunctionsFolder, Stamp, ToolFile, beside_stamps
from portico.tools.functions.pool import Pool
from portico.tools.functions.process import CHECKOUT, FunctionProcess, ProcessLost, Room
from portico.tools.functions.services import Asked, Services

LOOK_EVERY_S = 0.4
LOAD_S = 10.0
LOAD_PACKAGES_S = 60.0
"""For files that bring packages along: large ones take long from a cold disk, while all else starts, too."""
START_S = 8.0
DESCRIBE_AT_ONCE = 3
HIDDEN = "•••"
SHORTEST_SECRET = 6
"""A shorter one would be found by chance in any text."""

log = logger("tools")


class ToolChanged(ToolError):
    """The decided version is not the current one."""

    code = "tool_changed"

    def __init__(self) -> None:
        super().__init__("the function has changed since this was decided")


class Raised(ToolError):
    """What a function's process said of a call that failed, with its own code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class _Described:
    """A file and what came of loading it."""

    file: ToolFile
    python: Path | None = None
    specs: tuple[ToolSpec, ...] = ()
    digests: dict[str, str] | None = None
    problem: str = ""
    stamps: dict[str, Stamp | None] | None = None


class FunctionSource:
    """Looks into its folders again and again. Nothing of a file is ever run in this process."""

    name = "functions"

    def __init__(
        self,
        folders: Sequence[FunctionsFolder],
        services: Services,
        pool: Pool,
        *,
        environments: Callable[[Callable[[], None]], Environments],
        memory_bytes: int = 4 << 30,
        remembered: Path | None = None,
    ) -> None:
        self._descriptions = Descriptions(remembered)
        self._folders = Folders(folders)
        self._services = services
        self._pool = pool
        self._soon = asyncio.Event()
        self._environments = environments(self._soon.set)
        self._memory_bytes = memory_bytes
        self._known: dict[Path, _Described] = {}
        self._loading: dict[Path, tuple[ToolFile, asyncio.Task[list[_Described]]]] = {}
        self._describing = asyncio.Semaphore(DESCRIBE_AT_ONCE)
        self._sandbox = ""

    # --- what there is --------------------------------------------------------------------------------------

    def specs(self) -> tuple[ToolSpec, ...]:
        return tuple(spec for known in self._known.values() for spec in known.specs)

    def problems(self) -> tuple[str, ...]:
        return tuple(known.problem for known in self._known.values() if known.problem)

    async def start(self) -> None:
        """Learn what there is now, so that the first call finds it; a file that takes long is waited for later."""
        await self._look()
        soon = {task for file, task in self._loading.values() if file.outline.dependencies is None}
        if soon:
            await asyncio.wait(soon, timeout=START_S)
            await self._look()

    async def watch(self, changed: Callable[[], None]) -> None:
        """For ever."""
        while True:
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._soon.wait()
            except TimeoutError:
                pass
            self._soon.clear()
            if await self._look():
                changed()

    async def close(self) -> None:
        loading = [task for _, task in self._loading.values()]
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, return_exceptions=True)
        await self._pool.close()
        await self._environments.close()

    async def _look(self) -> bool:
        """Whether anything is other than it was."""
        there = self._folders.look()
        self._load([file for path, file in there.items() if self._is_new(path, file)])
        known = {path: self._known[path] for path in there if path in self._known}
        known |= {path: described for path, described in self._loaded().items() if path in there}
        sandbox = self._services.sandbox("")
        self._sandbox = sandbox if isinstance(sandbox, str) else ""
        ordered = {path: self._marked(known[path]) for path in there if path in known}
        if ordered == self._known:
            return False
        before = self._rooms(self._known)
        self._known = ordered
        stale = before - self._rooms(ordered)
        for key in stale:
            await self._pool.retire(key)
        return True

    def _load(self, files: Sequence[ToolFile]) -> None:
        """Begin to describe them: shipped ones together, each of the others by itself, whatever it does."""
        fresh = [file for file in files if not self._is_loading(file)]
        shipped = [file for file in fresh if file.shipped and file.outline.dependencies is None]
        for group in [shipped, *([file] for file in fresh if file not in shipped)]:
            if not group:
                continue
            task = asyncio.create_task(self._describe(group))
            task.add_done_callback(lambda _: self._soon.set())
            for file in group:
                self._loading[file.path] = (file, task)

    def _is_loading(self, file: ToolFile) -> bool:
        return file.path in self._loading and self._loading[file.path][0] == file

    def _loaded(self) -> dict[Path, _Described]:
        found: dict[Path, _Described] = {}
        for path, (file, task) in tuple(self._loading.items()):
            if not task.done():
                continue
            del self._loading[path]
            error = task.exception()
            if error is not None:
                problem = f"{path}: it cannot be described ({type(error).__name__})"
                found[path] = _Described(file, Path(sys.executable), problem=problem)
                continue
            found |= {one.file.path: one for one in task.result() if one.file.path == file.path}
        return found

    def _is_new(self, path: Path, file: ToolFile) -> bool:
        known = self._known.get(path)
        if known is None or known.file != file:
            return True
        if known.stamps and beside_stamps(tuple(known.stamps)) != known.stamps:
            return True
        return known.python is None and not file.problem and self._python(file) is not None

    def _python(self, file: ToolFile) -> Path | None:
        dependencies = file.outline.dependencies
        if dependencies is None:
            return Path(sys.executable)
        return self._environments.python(file.environment_digest, dependencies, file.lock)

    async def _describe(self, files: Sequence[ToolFile]) -> list[_Described]:
        """Each file's tools. Files of one interpreter share a process, each in a copy of its own."""
        found = [_Described(file, problem=file.problem) for file in files if file.problem]
        by_python: dict[Path, list[ToolFile]] = {}
        for file in files:
            if file.problem:
                continue
            python = self._python(file)
            if python is None:
                found.append(self._outlined(file))
            elif (answer := self._descriptions.find(file)) is not None:
                found.append(_read_description(file, python, answer))
            else:
                by_python.setdefault(python, []).append(file)
        for python, group in by_python.items():
            found += await self._described(python, group)
        return found

    def _outlined(self, file: ToolFile) -> _Described:
        why = self._environments.unavailable(file.environment_digest)
        specs = tuple(
            replace(spec, file=str(file.path), content_hash=file.content_hash({}), unavailable=why)
            for spec in file.outline.tools
        )
        return _Described(file, specs=specs)

    async def _described(self, python: Path, files: list[ToolFile]) -> list[_Described]:
        async with self._describing:
            try:
                process = await FunctionProcess.start(self._room_for(python, "describe"))
            except ToolError as error:
                return [_Described(file, python, problem=f"{file.path}: {error.message}") for file in files]
            try:
                packages = any(file.outline.dependencies is not None for file in files)
                limit = LOAD_PACKAGES_S if packages else LOAD_S
                answers = await process.describe([str(file.path) for file in files], timeout_s=limit)
            except (ToolError, TimeoutError) as error:
                why = error.message if isinstance(error, ToolError) else "it takes too long"
                answers = {str(file.path): {"broken": f"{file.path}: {why}"} for file in files}
            finally:
                await asyncio.shield(process.end())
        told = [(file, answers[str(file.path)]) for file in files]
        self._descriptions.keep([(file, answer) for file, answer in told if "broken" not in answer])
        return [_read_description(file, python, answer) for file, answer in told]

    # --- running ----------------------------------------------------------------------------------------------

    async def execute(self, spec: ToolSpec, call: ToolCall, run: RunningTool) -> JsonValue:
        """Raises `ToolError`: what the function raised, `ToolChanged`, or `ProcessLost`."""
        known = self._known.get(Path(spec.file))
        if known is None or known.python is None or known.digests is None:
            raise ToolFailed(spec.unavailable or "it is not there any more")
        if call.content_hash and call.content_hash != spec.content_hash:
            raise ToolChanged
        asked = Asked(self._services, spec, call, run)
        grant = self._services.proxy if spec.network else None
        async with AsyncExitStack() as stack:
            proxy_url = await stack.enter_async_context(grant(call.network) if grant else nullcontext(""))
            message = {
                "file": spec.file,
                "digests": known.digests,
                "tool": spec.name,
                "parameters": dict(call.invocation.parameters),
                "invocation_id": call.invocation_id,
                "person": {"id": call.actor.id, "role": call.actor.role},
                "language": call.language,
                "proxy_url": proxy_url,
                "sandbox": self._sandbox_access(spec, call),
            }
            run.hold()
            process = await stack.enter_async_context(self._pool.lease(self._room(known)))
            run.begin()
            stopping = asyncio.create_task(_stop_when(run.cancelled, process))
            try:
                answer = await process.call(message, ask=asked.answer, report=run.progress)
            finally:
                stopping.cancel()
        return _output(_without_secrets(answer, asked.secrets))

    def _room(self, known: _Described) -> Room:
        assert known.python is not None
        key = self._room_key(known)
        self._pool.revive(key)
        return self._room_for(known.python, key)

    def _room_for(self, python: Path, key: str) -> Room:
        own = python == Path(sys.executable)
        paths = (str(CHECKOUT),) if own else (*self._environments.paths(), str(CHECKOUT))
        return Room(key, python, paths, self._memory_bytes)

    def _room_key(self, known: _Described) -> str:
        """The light shipped ones share their processes; every other file has its own."""
        if not _is_light(known):
            return f"{known.file.path}:{known.file.content_hash(_beside(known))}"
        light = [one.file.content_hash(_beside(one)) for one in self._known.values() if _is_light(one)]
        return "shipped:" + hashlib.sha256("".join(light).encode()).hexdigest()

    def _rooms(self, known: dict[Path, _Described]) -> set[str]:
        return {self._room_key(one) for one in known.values() if one.python is not None}

    def _marked(self, known: _Described) -> _Described:
        """With the reason of this moment why its tools cannot run: no packages yet, or no sandbox."""
        if known.python is None and not known.problem:
            return self._outlined(known.file)
        if not any(spec.sandbox for spec in known.specs):
            return known
        specs = (replace(spec, unavailable=self._sandbox) if spec.sandbox else spec for spec in known.specs)
        return replace(known, specs=tuple(specs))

    def _sandbox_access(self, spec: ToolSpec, call: ToolCall) -> dict[str, Any] | None:
        if not spec.sandbox:
            return None
        access = self._services.sandbox(call.actor.id)
        if isinstance(access, str):
            raise ToolFailed(access)
        return {
            "api_url": access.api_url,
            "sandbox_url": access.sandbox_url,
            "api_key": access.api_key,
            "metadata": access.metadata,
        }


async def _stop_when(cancelled: asyncio.Event, process: FunctionProcess) -> None:
    await cancelled.wait()
    process.stop()


def _read_description(file: ToolFile, python: Path, answer: frames.Message) -> _Described:
    if "broken" in answer:
        folder = f"{file.path.parent}/"
        problem = str(answer["broken"])
        return _Described(file, python, problem=problem if problem.startswith("/") else folder + problem)
    if answer.get("digest") != file.digest:  # it was written again meanwhile; the next look sees that
        return _Described(replace(file, digest=""), python)
    beside: dict[str, str] = answer["beside"]
    content_hash = file.content_hash(beside)
    specs = tuple(
        replace(ToolSpec.from_json(one), file=str(file.path), source="function", content_hash=content_hash)
        for one in answer["specs"]
    )
    return _Described(
        file,
        python,
        specs=specs,
        digests={str(file.path): file.digest, **beside},
        stamps=beside_stamps(tuple(beside)),
    )


def _is_light(known: _Described) -> bool:
    return known.file.shipped and known.file.outline.dependencies is None


def _beside(known: _Described) -> dict[str, str]:
    return {path: digest for path, digest in (known.digests or {}).items() if path != str(known.file.path)}


def _without_secrets(answer: frames.Message, secrets: set[str]) -> frames.Message:
    """A secret that a function was given does not leave with its answer."""
    hidden = [secret for secret in secrets if len(secret) >= SHORTEST_SECRET]
    if not hidden:
        return answer
    text = json.dumps(answer, ensure_ascii=False)
    for secret in hidden:
        text = text.replace(json.dumps(secret, ensure_ascii=False)[1:-1], HIDDEN)
    return dict(json.loads(text))


def _output(answer: frames.Message) -> JsonValue:
    if answer["say"] == "result":
        output: JsonValue = answer["output"]
        return output
    code, message = str(answer["code"]), str(answer["message"])
    known: dict[str, type[ToolError]] = {
        one.code: one for one in (BadParameters, AskAgain, ToolFailed) if one is not ToolError
    }
    if code == ToolChanged.code:
        raise ToolChanged
    raise known[code](message) if code in known else Raised(code, message)


__all__ = ["FunctionSource", "ProcessLost", "Raised", "ToolChanged"]
