"""What the stack takes while nobody speaks: memory (PSS) and CPU of every process."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from benchmarks.figures import Figures
from benchmarks.private_stack import PrivateStack

SETTLE_S = 20.0
WATCH_S = 20.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


async def idle(stack: PrivateStack, figures: Figures) -> dict[str, float]:
    """PSS by process name in MiB; the sums go into the figures."""
    await asyncio.sleep(SETTLE_S)
    pids = stack.pids()
    before, started = _cpu_s(pids), time.perf_counter()
    await asyncio.sleep(WATCH_S)
    spent = _cpu_s(pids) - before
    figures.add("idle_cpu_percent", 100 * spent / (time.perf_counter() - started))
    by_process = {f"{_name(pid)} {pid}": _pss_mib(pid) for pid in sorted(pids)}
    figures.add("idle_pss_mib", sum(by_process.values()))
    return by_process


def _pss_mib(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except OSError:
        return 0.0
    return 0.0


def _cpu_s(pids: set[int]) -> float:
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS_PER_S


def _name(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except OSError:
        return "gone"
    module = words[words.index("-m") + 1] if "-m" in words else Path(words[0]).name
    return module
