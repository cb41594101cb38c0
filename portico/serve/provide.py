"""Installs what the shipped functions ask for, before anybody calls one: `python -m portico.serve.provide`.

Part of the set-up. A running worker would do the same by itself, but while it runs.
"""

from __future__ import annotations

import asyncio
import sys

from portico.serve.tools import SHIPPED, environments
from portico.tools.environments import BUILDING, Environments
from portico.tools.folders import Folders, FunctionsFolder, ToolFile

LOOK_EVERY_S = 0.2


async def provide() -> list[str]:
    """What could not be installed, a line each."""
    made = environments(lambda: None)
    files = Folders([FunctionsFolder(SHIPPED, shipped=True)]).look().values()
    wanted = [file for file in files if file.outline.dependencies is not None]
    try:
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


def main() -> int:
    problems = asyncio.run(provide())
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
