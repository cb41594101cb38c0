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
from pathlib import Path

from portico.processes import SESSION, ProcessIdentity, boot_id, running_fields

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


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
    found = ((pid, running_fields(pid)) for pid in _pids())
    return [pid for pid, fields in found if fields and int(fields[SESSION]) == session]


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
