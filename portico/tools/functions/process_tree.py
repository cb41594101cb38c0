"""Processes and everything that comes from them: found in /proc, counted, and ended without leaving one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path

from portico.processes import PARENT, SESSION, running_fields

END_S = 5.0
ROUNDS = 20


def processes_below(root: int) -> set[int]:
    """The process and everything that comes from it, also what went into a session of its own."""
    parents = {pid: facts for pid in _pids() if (facts := _parent_and_session(pid)) is not None}
    tree = {root} if root in parents else set()
    tree |= {pid for pid, (_, session) in parents.items() if session == root}
    while more := {pid for pid, (parent, _) in parents.items() if parent in tree} - tree:
        tree |= more
    return tree


async def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """The root is stopped first, so that it neither starts more nor lets go of what it has."""
    if process.poll() is None:
        _signal(process.pid, signal.SIGSTOP)
        for _ in range(ROUNDS):
            below = processes_below(process.pid) - {process.pid}
            if not below:
                break
            for pid in below:
                _signal(pid, signal.SIGKILL)
            await asyncio.sleep(0.005)
        _signal(process.pid, signal.SIGKILL)
    for pid in processes_below(process.pid) - {process.pid}:
        _signal(pid, signal.SIGKILL)
    end = asyncio.get_running_loop().time() + END_S
    while process.poll() is None and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110 - the kernel sends no event
        await asyncio.sleep(0.005)


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _parent_and_session(pid: int) -> tuple[int, int] | None:
    fields = running_fields(pid)
    return (int(fields[PARENT]), int(fields[SESSION])) if fields else None


def own_tasks() -> int:
    """How many threads of all processes this user has."""
    count = 0
    for pid in _pids():
        try:
            if os.stat(f"/proc/{pid}").st_uid == os.geteuid():
                count += len(os.listdir(f"/proc/{pid}/task"))
        except OSError:
            continue
    return count


def resident_bytes(pids: set[int]) -> int:
    pages = 0
    for pid in pids:
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
    return pages * os.sysconf("SC_PAGE_SIZE")
