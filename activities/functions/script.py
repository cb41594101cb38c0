"""Runs code in a sandbox of its own, and nowhere else: without the sandbox service there is no such tool.

The sandbox has a kernel of its own, no network, limits on memory, processes and time, and is gone after the run.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import posixpath
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from activities.functions.files import visible
from portico.tool import AskAgain, SandboxAccess, ToolContext, ToolFailed, tool

if TYPE_CHECKING:  # loaded when code is run: the SDK takes longer to load than all the light tools together
    from e2b.sandbox.commands.command_handle import CommandResult
    from e2b_code_interpreter import AsyncSandbox, Execution, OutputMessage, Result

HOME = "/home/user"
LONGEST_OUTPUT = 20_000
LONGEST_FILE = 50 * 1024 * 1024
MOST_PICTURES = 20
MARGIN_S = 30
"""A sandbox whose maker was killed ends by itself this long after its code should have ended."""
PICTURES = {"png": "image/png", "jpeg": "image/jpeg", "svg": "image/svg+xml", "pdf": "application/pdf"}
TEXT_PICTURES = ("svg",)
LONGEST_RUN_S = 600


GONE = "the sandbox ended before the code did; run it again"


class Interrupted(ToolFailed):
    """The sandbox was gone before the code had ended. Nothing of it is left, so the same call may be made again."""

    code = "interrupted"


@dataclass
class _Output:
    """What the code has written so far, the end of it where it is too much."""

    context: ToolContext
    stdout: str = ""
    stderr: str = ""
    cut: bool = False

    def out(self, said: OutputMessage | str) -> None:
        self.stdout = self._more(self.stdout, said)

    def err(self, said: OutputMessage | str) -> None:
        self.stderr = self._more(self.stderr, said)

    def _more(self, known: str, said: OutputMessage | str) -> str:
        piece = said if isinstance(said, str) else said.line
        lines = piece.strip().splitlines()
        if lines:
            self.context.progress(lines[-1][:200])
        together = known + piece
        self.cut = self.cut or len(together) > LONGEST_OUTPUT
        return together[-LONGEST_OUTPUT:]


@dataclass
class _Outcome:
    """What is told of a run."""

    results: list[str] = field(default_factory=list)
    error: dict[str, str] | None = None
    exit_code: int | None = None
    pictures: list[str] = field(default_factory=list)


@tool(effects="read", risk="low", timeout_s=LONGEST_RUN_S + 2 * MARGIN_S, sandbox=True, concurrency=8)
async def script(
    context: ToolContext,
    code: Annotated[str, Field(min_length=1, max_length=200_000)],
    language: Literal["python", "javascript", "typescript", "bash"] = "python",
    files: Annotated[list[str], Field(max_length=50)] = [],  # noqa: B006 - pydantic copies it
    keep: Annotated[list[str], Field(max_length=50)] = [],  # noqa: B006
    time_limit_s: Annotated[int, Field(ge=1, le=LONGEST_RUN_S)] = 60,
) -> dict[str, Any]:
    """Run code in an isolated sandbox without network and tell what it wrote, returned and drew. Python has numpy,
    pandas, matplotlib and pillow; the value of its last line is the result. Every run begins afresh.

    Args:
        code: the whole program
        language: what it is written in
        files: files of the workspace that it needs; they lie in its current folder under their own name
        keep: files that it writes and that shall be put into the workspace, relative to its current folder
        time_limit_s: seconds after which it is ended
    """
    output = _Output(context)
    async with _sandbox(context, time_limit_s) as sandbox, _interruptions(output, time_limit_s):
        await _bring(context, sandbox, files)
        outcome = await _run(sandbox, code, language, output, time_limit_s)
        await sandbox.get_info()  # an answer that just stops looks like a whole one: it must still be there
        kept = await _take(context, sandbox, keep)
    return _told(outcome, output, kept)


@asynccontextmanager
async def _sandbox(context: ToolContext, time_limit_s: int) -> AsyncIterator[AsyncSandbox]:
    """A sandbox for this run alone, killed with it."""
    import httpx
    from e2b import SandboxException

    access = context.sandbox
    if access is None:
        raise ToolFailed("there is no sandbox here, and code runs nowhere else")
    context.progress("getting a sandbox")
    sandbox = await _create(access, time_limit_s + MARGIN_S)
    try:
        yield sandbox
    finally:
        with contextlib.suppress(SandboxException, httpx.HTTPError, OSError):
            await asyncio.shield(sandbox.kill())


async def _create(access: SandboxAccess, timeout_s: int) -> AsyncSandbox:
    import httpx
    from e2b import RateLimitException, SandboxException
    from e2b_code_interpreter import AsyncSandbox

    options = {"api_url": access.api_url, "sandbox_url": access.sandbox_url, "api_key": access.api_key}
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # naming a server by its address is deprecated, and there is nothing else yet
        try:
            return await AsyncSandbox.create(timeout=timeout_s, metadata=access.metadata, **options)
        except RateLimitException:
            raise ToolFailed("all sandboxes are taken; try again in a moment") from None
        except (SandboxException, httpx.HTTPError, OSError):
            raise ToolFailed("the sandbox service does not answer; no code was run") from None


@asynccontextmanager
async def _interruptions(output: _Output, time_limit_s: int) -> AsyncIterator[None]:
    """Tell a program that took too long from a sandbox that went away under it."""
    import httpx
    from e2b import SandboxException, TimeoutException

    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        yield
    except TimeoutException:
        if loop.time() - began < time_limit_s - 1:  # what the SDK also makes of a connection that broke off
            raise Interrupted(GONE) from None
        said = (output.stdout or output.stderr).strip()[-200:]
        raise ToolFailed(
            f"not done after {time_limit_s} s{f'; it last wrote: {said}' if said else ''}"
        ) from None
    except (SandboxException, httpx.HTTPError, OSError):
        raise Interrupted(GONE) from None


async def _bring(context: ToolContext, sandbox: AsyncSandbox, files: list[str]) -> None:
    for number, path in enumerate(files):
        context.progress(f"bringing {path}", number / len(files))
        data = await asyncio.to_thread(context.workspace.read, visible(path))
        await sandbox.files.write(f"{HOME}/{posixpath.basename(path)}", data)


async def _run(
    sandbox: AsyncSandbox, code: str, language: str, output: _Output, time_limit_s: int
) -> _Outcome:
    output.context.progress("running")
    if language == "bash":
        return await _run_shell(sandbox, code, output, time_limit_s)
    pictures: list[str] = []

    def draw(result: Result) -> None:
        pictures.extend(_draw(output.context, result, len(pictures)))

    execution = await sandbox.run_code(
        code,
        language=language,
        on_stdout=output.out,
        on_stderr=output.err,
        on_result=draw,
        timeout=time_limit_s,
    )
    return _outcome(execution, pictures)


def _outcome(execution: Execution, pictures: list[str]) -> _Outcome:
    error = execution.error
    return _Outcome(
        results=[text for text in (_shown(result) for result in execution.results) if text],
        error={"name": error.name, "value": error.value, "traceback": error.traceback[-4000:]}
        if error
        else None,
        pictures=pictures,
    )


async def _run_shell(sandbox: AsyncSandbox, code: str, output: _Output, time_limit_s: int) -> _Outcome:
    from e2b import CommandExitException

    try:
        ended: CommandResult | CommandExitException = await sandbox.commands.run(
            code, on_stdout=output.out, on_stderr=output.err, timeout=time_limit_s, retain_output=False
        )
    except CommandExitException as error:
        ended = error
    return _Outcome(exit_code=ended.exit_code)


def _draw(context: ToolContext, result: Result, known: int) -> list[str]:
    """Keep what a result can be seen as: one picture each, the first kind that it has."""
    for kind, media_type in PICTURES.items():
        data = getattr(result, kind, None)
        if data and known < MOST_PICTURES:
            name = f"picture-{known + 1}.{kind}"
            raw = data.encode() if kind in TEXT_PICTURES else base64.b64decode(data)
            context.artifact(name, raw, media_type)
            return [name]
    return []


def _shown(result: Result) -> str:
    is_picture = any(getattr(result, kind, None) for kind in PICTURES)
    if is_picture:
        return ""
    return (result.text or result.markdown or (str(result.json) if result.json is not None else ""))[
        :LONGEST_OUTPUT
    ]


async def _take(context: ToolContext, sandbox: AsyncSandbox, keep: list[str]) -> list[str]:
    from e2b import FileNotFoundException

    kept = []
    for name in keep:
        path = posixpath.normpath(posixpath.join(HOME, name))
        try:
            info = await sandbox.files.get_info(path)
            if info.size > LONGEST_FILE:
                raise ToolFailed(f"{name} is larger than {LONGEST_FILE // 1024**2} MiB")
            data = bytes(await sandbox.files.read(path, format="bytes"))
        except FileNotFoundException:
            raise AskAgain(f"the code left no file {name}") from None
        kept.append(await asyncio.to_thread(_keep, context, posixpath.basename(path), data))
    return kept


def _keep(context: ToolContext, name: str, data: bytes) -> str:
    """Beside what is there: nothing of the workspace is replaced."""
    stem, dot, ending = name.rpartition(".")
    path, number = name, 2
    while context.workspace.exists(path):
        path, number = (f"{stem} ({number}).{ending}" if dot else f"{name} ({number})"), number + 1
    return context.workspace.write(path, data).path


def _told(outcome: _Outcome, output: _Output, kept: list[str]) -> dict[str, Any]:
    error = outcome.error
    parts = [
        output.stdout.rstrip(),
        *outcome.results,
        output.stderr.rstrip(),
        f"{error['name']}: {error['value']}" if error else "",
        f"exit code {outcome.exit_code}" if outcome.exit_code else "",
        f"pictures: {', '.join(outcome.pictures)}" if outcome.pictures else "",
        f"kept: {', '.join(kept)}" if kept else "",
    ]
    return {
        "text": "\n".join(part for part in parts if part) or "it ran and wrote nothing",
        "stdout": output.stdout,
        "stderr": output.stderr,
        "results": outcome.results,
        "error": error,
        "exit_code": outcome.exit_code,
        "pictures": outcome.pictures,
        "files": kept,
        "cut": output.cut,
    }
