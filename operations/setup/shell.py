"""Running commands: quiet while they work, their last lines when they fail, one progress line a step."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from operations.setup.binaries import cache_directory

TAIL_LINES = 15


_running: set[subprocess.Popen[bytes]] = set()


class SetupFailed(Exception):
    """The set-up cannot go on; the message is what a person has to do."""


def say(text: str) -> None:
    sys.stdout.write(f"set-up    {text}\n")
    sys.stdout.flush()


@contextmanager
def step(text: str) -> Iterator[None]:
    """One progress line when it is done, with its seconds."""
    began = time.monotonic()
    yield
    say(f"{text}  {time.monotonic() - began:.1f} s")


def log_file() -> Path:
    return cache_directory() / "setup.log"


def run(command: Sequence[object], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
    """Raises `SetupFailed` with its last lines if it fails. All output goes to the log."""
    words = [str(word) for word in command]
    log_file().parent.mkdir(parents=True, exist_ok=True)
    try:
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        raise SetupFailed(f"{words[0]} cannot be started: {error}") from error
    _running.add(process)
    try:
        output = process.communicate()[0].decode(errors="replace")
    finally:
        _running.discard(process)
    with log_file().open("a") as log:
        log.write(f"$ {' '.join(words)}\n{output}\n")
    if process.returncode != 0:
        lines = "".join(f"\n    {line}" for line in output.splitlines()[-TAIL_LINES:])
        raise SetupFailed(f"{' '.join(words[:4])} … failed:{lines}\n  whole log: {log_file()}")


def break_off() -> None:
    """End concurrent commands after a failure."""
    for process in list(_running):
        process.terminate()


def output_of(command: Sequence[object]) -> str | None:
    """What a command prints, or nothing where it cannot be run or fails."""
    try:
        done = subprocess.run(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
