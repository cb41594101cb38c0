"""Processes of the stack: started so that they die with the supervisor, and ended with all their children.

A process is known by its id, its start time and the boot it ran in, so that a recycled id is never killed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)
STATE, GROUP, SESSION, STARTED = 0, 2, 3, 19  # fields of /proc/PID/stat after the name


@dataclass(frozen=True)
class ProcessIdentity:
    """Tells one process from any other that has or had its id."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """Nothing where no such process runs (a zombie does not)."""
        fields = _stat(pid)
        return cls(pid, int(fields[STARTED]), boot_id()) if fields and fields[STATE] != "Z" else None

    @property
    def alive(self) -> bool:
        return ProcessIdentity.of(self.pid) == self


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def spawn(
    command: tuple[str, ...], *, environment: Mapping[str, str], log: Path, cwd: Path
) -> subprocess.Popen[bytes]:
    """Start a session of its own that gets SIGKILL when this process dies.

    Call it from the main thread only: the signal follows the thread that forked.
    """
    parent = os.getpid()

    def die_with_parent() -> None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the request was made
            os._exit(1)

    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            env=dict(environment),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )


def members(session: int) -> list[int]:
    """Every process of the session, the leader included, zombies not."""
    found = ((pid, _stat(pid)) for pid in _pids())
    return [pid for pid, stat in found if stat and int(stat[SESSION]) == session and stat[STATE] != "Z"]


def signal_session(session: int, number: int) -> None:
    for pid in members(session):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def end_leftover(identity: ProcessIdentity, *, grace_s: float = 5) -> bool:
    """End a session that a killed supervisor left; true if there was something to end.

    An id cannot be taken again while its session has members: members without their leader are ours.
    """
    if identity.boot != boot_id():
        return False
    now = ProcessIdentity.of(identity.pid)
    if now is not None and now != identity:
        return False
    if not members(identity.pid):
        return False
    signal_session(identity.pid, signal.SIGTERM)
    if not wait_gone(identity.pid, timeout_s=grace_s):
        signal_session(identity.pid, signal.SIGKILL)
        wait_gone(identity.pid, timeout_s=grace_s)
    return True


def wait_gone(session: int, *, timeout_s: float) -> bool:
    end = time.monotonic() + timeout_s
    while members(session):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()
