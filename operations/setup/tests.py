"""`make test` without arguments: quick tests share the machine, those that kill, flood or time stacks have it alone.

Tests use real servers, killed processes and real time on machines that do other things, too. So a few that failed
are run once more, by themselves and with fresh servers: one that fails again fails the run, one that does not is
named. What breaks off, or fails in more places, is never tried again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ALONE = ("tests/entrypoints/cli", "tests/console", "tests/operations/embedded", "tests/guarantees")
MOST_AGAIN = 5
WELL, FAILED = 0, 1
"""Exit codes of pytest; any other one means that it did not come to its end."""


def run(root: Path, alone: tuple[str, ...] = ALONE) -> int:
    """0 where every test has passed. Writes to standard output."""
    together = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
    ignored = [f"--ignore={folder}" for folder in alone]
    statuses = {_pytest(root, "--cache-clear", *together, *ignored), _pytest(root, *alone)}
    if statuses == {WELL}:
        return WELL
    return _again(root) if statuses <= {WELL, FAILED} else FAILED


def _again(root: Path) -> int:
    failed = list(json.loads((root / ".pytest_cache/v/cache/lastfailed").read_text()))
    if not failed or len(failed) > MOST_AGAIN:
        return FAILED
    _say(f"{len(failed)} failed; run again, alone")
    status = _pytest(root, *failed)
    if status == WELL:
        _say("passed only when run again:", *failed)
    return status


def _say(*lines: str) -> None:
    sys.stdout.write("tests     " + "\n          ".join(lines) + "\n")
    sys.stdout.flush()


def _pytest(root: Path, *words: str) -> int:
    return subprocess.run((sys.executable, "-m", "pytest", *words), cwd=root, check=False).returncode


if __name__ == "__main__":
    sys.exit(run(Path.cwd()))
