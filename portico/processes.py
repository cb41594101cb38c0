"""Running processes as `/proc/PID/stat` describes them (proc_pid_stat(5)), and what tells one from another."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

STATE, PARENT, SESSION, STARTED = 0, 1, 3, 19
"""Fields of /proc/PID/stat after the name; the start time is in clock ticks since boot."""


@dataclass(frozen=True)
class ProcessIdentity:
    """Tells one process from any other that has or had its id."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """None where no such process runs (a zombie does not)."""
        fields = running_fields(pid)
        return cls(pid, int(fields[STARTED]), boot_id()) if fields else None

    @classmethod
    def own(cls) -> ProcessIdentity:
        pid = os.getpid()
        return cls(pid, int(stat_fields(pid)[STARTED]), boot_id())

    @property
    def alive(self) -> bool:
        return ProcessIdentity.of(self.pid) == self


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def stat_fields(pid: int) -> list[str]:
    """The fields after the name, which may hold any byte. Raises `OSError`."""
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode().split()


def running_fields(pid: int) -> list[str] | None:
    """The same; None where no such process runs or may be looked at, and for a zombie."""
    try:
        fields = stat_fields(pid)
    except OSError:
        return None
    return fields if fields[STATE] != "Z" else None
