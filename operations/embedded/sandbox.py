"""The sandbox service as a part: built when everything else is up, and never in the way of an answer.

What becomes of it is written to `run/sandbox.json`, where the worker reads whether code can run, and if not, why.
"""

from __future__ import annotations

import json
import os
import sys

from operations.embedded.context import StackContext
from operations.setup.binaries import RUNSC, cache_directory
from portico.private_files import write_private

LONGEST_REASON = 600
SET_UP = "set-up "
SAYS = "sandbox: "  # how the service begins the line that says why it ends
WARM = 0  # a sandbox that waits takes as much memory as the rest of the idle stack has left


def build(_context: StackContext) -> tuple[str, ...]:
    """Builds what is missing; done at once where nothing is."""
    return (sys.executable, "-m", "operations.setup", "on-demand")


def build_environment(_context: StackContext) -> dict[str, str]:
    """The build needs the variables that say how this machine reaches its package registries."""
    given = dict(os.environ)  # noqa: TID251 - what a part inherits is chosen here
    return {name: value for name, value in given.items() if not name.startswith("PORTICO_")}


def command(context: StackContext) -> tuple[str, ...]:
    folder = context.home.sandbox
    folder.mkdir(mode=0o700, exist_ok=True)
    key = folder / "key"
    write_private(key, context.credentials["sandbox_key"])
    host, _, port = context.address("sandbox").rpartition(":")
    where = (
        "--state-dir",
        str(folder / "state"),
        "--key-file",
        str(key),
        "--image-dir",
        str(image_directory()),
    )
    service = (sys.executable, "-m", "sandbox", "--host", host, "--port", port)
    lines = ("--json-lines",) if context.settings.log.json_lines else ()
    return (*service, *where, "--runsc", str(RUNSC.path), "--warm", str(WARM), *lines)


def image_directory() -> str:
    return str(cache_directory() / "sandbox")


def note(context: StackContext, unavailable: str) -> None:
    """Tell the other parts: empty where code can run now."""
    write_private(context.home.sandbox_state, json.dumps({"unavailable": unavailable}), durable=False)


def reason(words: list[str]) -> str:
    """Of the last lines of its log, what the service or the set-up said last, in one line."""
    starts = [number for number, line in enumerate(words) if line.startswith((SAYS, SET_UP))]
    said = " ".join(words[starts[-1] :] if starts else words[-1:])
    told = said.removeprefix(SAYS).removeprefix(SET_UP)
    return " ".join(told.split())[:LONGEST_REASON] or "it ended without a word"
