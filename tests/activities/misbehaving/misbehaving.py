"""Functions that do what no function should, and some that do as they should."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from typing import Any

from pydantic import BaseModel

from portico.tool import ApprovalRequired, AskAgain, File, ToolContext, ToolFailed, tool


class Point(BaseModel):
    x: int


@tool(effects="none", risk="low", timeout_s=0.3)
def slow(context: ToolContext) -> str:
    """Waits until it is told to stop."""
    context.stop.wait(10)
    return "stopped"


@tool(effects="write", risk="high", timeout_s=0.2)
def deaf() -> None:
    """Waits and does not listen."""
    time.sleep(30)


@tool(effects="none", risk="low", timeout_s=30)
async def patient(seconds: float = 30) -> str:
    """Waits without a thread."""
    await asyncio.sleep(seconds)
    return "done"


def failure(how: str) -> BaseException | None:
    return {
        "bug": KeyError("the-secret-token"),
        "failed": ToolFailed("the shop is closed"),
        "again": AskAgain("which shop?"),
        "approval": ApprovalRequired("this costs money"),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "stop_iteration": StopIteration(),
    }.get(how)


@tool(effects="none", risk="low")
def broken(how: str) -> Any:
    """Fails in the asked way."""
    error = failure(how)
    if error is not None:
        raise error
    answers: dict[str, Any] = {
        "model": Point(x=1),
        "infinite": float("inf"),
        "object": object(),
        "large": "x" * 17_000_000,
    }
    return answers[how]


@tool(effects="none", risk="low")
async def broken_async(how: str) -> Any:
    """Fails in the asked way."""
    if how == "cancelled":
        raise asyncio.CancelledError
    error = failure(how)
    if error is not None:
        raise error
    return {"object": object(), "large": "x" * 17_000_000}[how]


@tool(effects="read", risk="low", secrets=["weather"])
def who(context: ToolContext) -> dict[str, str]:
    """Tells who asks."""
    context.progress("looking", 0.5)
    return {"id": context.person.id, "role": context.person.role, "language": context.language}


@tool(effects="none", risk="low")
def wrong_type() -> int:
    """Says that it answers with a number."""
    return "many"  # type: ignore[return-value]


@tool(effects="none", risk="low")
def missing_import() -> str:
    """Needs what is not there."""
    import a_module_that_is_not_there  # type: ignore[import-not-found]

    return str(a_module_that_is_not_there)


@tool(effects="none", risk="low")
def flood() -> str:
    """Writes more than anybody reads."""
    for _ in range(2000):
        print("x" * 10_000)  # noqa: T201
        sys.stderr.write("y" * 10_000)
    os.write(1, b"z" * 1_000_000)
    subprocess.run(["/bin/sh", "-c", "head -c 1000000 /dev/zero"], check=True)
    return "flooded"


@tool(effects="none", risk="low")
def leaves(status: int = 7) -> str:
    """Ends its own process."""
    os._exit(status)


@tool(effects="none", risk="low")
def forks() -> str:
    """Comes back twice."""
    os.fork()
    return "once"


@tool(effects="none", risk="low", timeout_s=30)
def bomb() -> str:
    """Starts processes without end."""
    while True:
        subprocess.Popen(["/bin/sleep", "60"])


@tool(effects="none", risk="low")
def leaves_behind() -> list[int]:
    """Leaves a process and a thread behind, one of them in a session of its own."""
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    ours = subprocess.Popen(["/bin/sleep", "61"])
    apart = subprocess.Popen(["/bin/sleep", "62"], start_new_session=True)
    return [os.getpid(), ours.pid, apart.pid]


@tool(effects="none", risk="low", timeout_s=20)
def greedy(mib: int) -> int:
    """Takes memory."""
    return len(bytearray(mib << 20))


@tool(effects="none", risk="low")
def surroundings() -> dict[str, Any]:
    """What it finds around itself."""
    return {
        "environment": dict(os.environ),
        "files": sorted(os.listdir("/proc/self/fd")),
        "pid": os.getpid(),
        "session": os.getsid(0),
        "folder": os.getcwd(),
    }


@tool(effects="none", risk="low", secrets=["weather"])
def tells_secret(context: ToolContext, name: str = "weather") -> dict[str, str]:
    """Gives away what it was given."""
    value = context.secret(name)
    context.progress(f"with {len(value)} letters")
    return {"said": f"the key is {value}!"}


@tool(effects="write", risk="low")
def notes(context: ToolContext, text: str) -> list[str]:
    """Keeps a note in the workspace, and as an artifact."""
    context.workspace.write("notes/one.txt", text.encode())
    context.workspace.move("notes/one.txt", "notes/two.txt")
    context.artifact("copy.txt", context.workspace.read("notes/two.txt"))
    context.scratch.joinpath("gone").write_text("gone")
    return [file.path for file in context.workspace.list("notes")]


@tool(effects="read", risk="low")
def upper(file: File) -> dict[str, Any]:
    """Makes a file's letters large."""
    return {"text": "done", "files": [File(f"upper-{file.name}", file.data.upper())]}


@tool(effects="none", risk="low", repeatable=True)
def dies(how: str = "kill") -> str:
    """Is killed in the middle."""
    os.kill(os.getpid(), 9)
    return how


@tool(effects="none", risk="low")
def dies_once() -> str:
    """Is killed in the middle, and must not be repeated."""
    os.kill(os.getpid(), 9)
    return "never"


@tool(effects="none", risk="low", concurrency=1)
def alone(seconds: float) -> float:
    """Runs once at a time."""
    begun = time.monotonic()
    time.sleep(seconds)
    return begun


@tool(effects="none", risk="low")
def long_text(size: int) -> str:
    """As long as asked."""
    return "ä" * size
