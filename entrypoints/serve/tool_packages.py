"""Installs what the shipped functions ask for, before anybody calls one.

    python -m entrypoints.serve.tool_packages [--folder FOLDER]

Part of the set-up. A running worker would do the same by itself, but while it runs. With `--folder` they come to lie
there: an image takes them along in `environments/`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from entrypoints.serve.tool_sources import SHIPPED, environments, installer
from portico.tools.functions.environments import BUILDING, Environments
from portico.tools.functions.folders import Folders, FunctionsFolder, ToolFile

LOOK_EVERY_S = 0.2


async def provide(made: Environments) -> list[str]:
    """What could not be installed, a line each."""
    files = Folders([FunctionsFolder(SHIPPED, shipped=True)]).look().values()
    wanted = [file for file in files if file.outline.dependencies is not None]
    try:
        made.paths()  # shared packages: an image's folder is read-only later
        # one after the other: each takes all the processors that there are
        return [problem for file in wanted if (problem := await _install(made, file))]
    finally:
        await made.close()


async def _install(made: Environments, file: ToolFile) -> str:
    dependencies = file.outline.dependencies or ()
    while made.python(file.environment_digest, dependencies, file.lock) is None:
        why = made.unavailable(file.environment_digest)
        if why != BUILDING:
            return f"{file.path.name}: {why}"
        await asyncio.sleep(LOOK_EVERY_S)
    return ""


def _nothing() -> None:
    """Nobody waits for one of them to be ready."""


def main() -> int:
    arguments = argparse.ArgumentParser(description="installs what the shipped functions ask for")
    arguments.add_argument("--folder", type=Path)
    folder = arguments.parse_args().folder
    made = Environments(folder, installer, ready=_nothing) if folder else environments(_nothing)
    problems = asyncio.run(provide(made))
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
