"""`make test` without arguments: most tests run in three processes, those marked `alone` in two after them.

Most wait for servers and states, so three processes on two cores are quicker than two.

Tests use real servers, killed processes and real time on machines that do other things, too. So a few that failed
are run once more, by themselves and with fresh servers: one that fails again fails the run, one that does not is
named. What breaks off, or fails in more places, is never tried again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

DEFAULT = "not long and not deploy"  # as in pyproject.toml, which `-m` replaces
TOGETHER, ALONE = f"not alone and {DEFAULT}", f"alone and {DEFAULT}"
IN_PARALLEL = ("--dist", "loadfile", "--no-loadscope-reorder")
MOST_AGAIN = 5
WELL, FAILED = 0, 1
"""Exit codes of pytest; any other one means that it did not come to its end."""


def run(root: Path) -> int:
    """0 where every test has passed. Writes to standard output."""
    statuses = {
        _pytest(root, "--cache-clear", "-n", "3", *IN_PARALLEL, "-m", TOGETHER),
        _pytest(root, "-n", "2", *IN_PARALLEL, "-m", ALONE),
    }
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
