"""The sandbox service: how long a first and a later cell take, what one costs, and how many run at once.

`python -m benchmarks.sandbox` measures these alone. Everything goes through E2B's SDK, as a user's program would.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from e2b_code_interpreter import Sandbox

from benchmarks.figures import Figures, table
from operations.setup.binaries import CHECKOUT, RUNSC, cache_directory

AT_ONCE = 20
CELLS = 50
READY_S = 180.0
BUSY = "total = 0\nfor n in range(5_000_000): total += n * n % 7"
Options = dict[str, str]


@contextmanager
def service(*more: str) -> Iterator[Options]:
    """A service of its own in a folder of its own; what the SDK needs to be told."""
    with tempfile.TemporaryDirectory(prefix="portico-bench-") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port, key = probe.getsockname()[1], Path(folder) / "key"
        probe.close()
        arguments = ["--port", str(port), "--state-dir", f"{folder}/state", "--key-file", str(key), *more]
        image = ["--runsc", str(RUNSC.path), "--image-dir", str(cache_directory() / "sandbox")]
        command = [sys.executable, "-m", "sandbox", *arguments, *image]
        process = subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}"
        try:
            _await(url)
            yield {"api_key": key.read_text().strip(), "api_url": url, "sandbox_url": url}
        finally:
            process.terminate()
            process.wait(60)


def _await(url: str) -> None:
    until = time.monotonic() + READY_S
    while True:
        try:
            urllib.request.urlopen(f"{url}/healthz", timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def measure(figures: Figures, *, repeats: int) -> None:
    if not RUNSC.path.exists():
        print("runsc is not built: `operations/setup/run.sh sandbox` builds it")
        return
    warnings.simplefilter("ignore")  # the SDK tells that the addresses will be given in another way one day
    with service("--warm", "1") as options:
        time.sleep(3)  # until the first is ready
        for _ in range(repeats):
            _one(figures, options)
            time.sleep(1)  # until the next is ready
    with service("--warm", "0", "--most", str(AT_ONCE + 2)) as options:
        figures.add("sandbox_first_s", _created_and_ran(options))
        time.sleep(3)
        for _ in range(repeats):
            figures.add("sandbox_cold_s", _created_and_ran(options))
        _many(figures, options)


def _one(figures: Figures, options: Options) -> None:
    began = time.perf_counter()
    sandbox = Sandbox.create(**options)
    assert sandbox.run_code("6 * 7").text == "42"
    figures.add("sandbox_warm_ms", (time.perf_counter() - began) * 1000)
    figures.add("sandbox_cell_ms", statistics.median(_timed(sandbox) for _ in range(CELLS)) * 1000)
    figures.add("sandbox_cpu_ratio", _busy_outside() / _busy_inside(sandbox))
    began = time.perf_counter()
    sandbox.pause()
    figures.add("sandbox_pause_s", time.perf_counter() - began)
    began = time.perf_counter()
    Sandbox.connect(sandbox.sandbox_id, **options).run_code("1")
    figures.add("sandbox_resume_s", time.perf_counter() - began)
    sandbox.kill()


def _busy_outside() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", BUSY], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _busy_inside(sandbox: Sandbox) -> float:
    """What the machine spent on it, gVisor's own work included. The clock would tell what else the machine does."""
    before = _spent(sandbox.sandbox_id)
    sandbox.run_code(BUSY, timeout=120)
    return _spent(sandbox.sandbox_id) - before


def _spent(name: str) -> float:
    ticks = 0
    for process in _processes(name):
        with contextlib.suppress(OSError):
            fields = (process / "stat").read_text().rsplit(") ", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _processes(name: str) -> Iterator[Path]:
    """Its starter, kernel and file server, and the nameless ones below them that the guest's programs run in."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if name.encode() in (process / "cmdline").read_bytes():
                yield process
                yield from _nameless_below(process)


def _nameless_below(process: Path) -> Iterator[Path]:
    for thread in (process / "task").iterdir():
        for child in (thread / "children").read_text().split():
            below = Path("/proc") / child
            if not (below / "cmdline").read_bytes():
                yield below
                yield from _nameless_below(below)


def _timed(sandbox: Sandbox) -> float:
    began = time.perf_counter()
    sandbox.run_code("6 * 7")
    return time.perf_counter() - began


def _created_and_ran(options: Options) -> float:
    began = time.perf_counter()
    sandbox = Sandbox.create(**options)
    assert sandbox.run_code("6 * 7").text == "42"
    taken = time.perf_counter() - began
    sandbox.kill()
    return taken


def _many(figures: Figures, options: Options) -> None:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        began = time.perf_counter()
        sandboxes = list(threads.map(lambda _: Sandbox.create(**options), range(AT_ONCE)))
        answers = list(threads.map(lambda sandbox: sandbox.run_code("6 * 7", timeout=60).text, sandboxes))
        figures.add("sandbox_twenty_s", time.perf_counter() - began)
        figures.add("sandbox_at_once", answers.count("42"))
        for sandbox in sandboxes:
            figures.add("sandbox_idle_mib", _held_mib(sandbox.sandbox_id))
        list(threads.map(lambda sandbox: sandbox.kill(), sandboxes))


def _held_mib(name: str) -> float:
    """What its processes hold for themselves, and their share of what they have in common, with the guest's memory."""
    held = 0
    for process in _processes(name):
        with contextlib.suppress(OSError):
            held += _of_its_own(process)
    return held / 2**20


def _of_its_own(process: Path) -> int:
    lines = (process / "smaps_rollup").read_text().splitlines()[1:]
    facts = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    guest = [entry for entry in (process / "fd").iterdir() if "memfd:runsc-memory" in os.readlink(entry)]
    memory = guest[0].stat().st_blocks * 512 if guest and b"boot" in (process / "cmdline").read_bytes() else 0
    return facts["Pss"] - facts.get("Pss_Shmem", 0) + memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    figures = Figures()
    measure(figures, repeats=parser.parse_args().repeats)
    print("\n".join(line for line in table(figures).splitlines() if "not measured" not in line))


if __name__ == "__main__":
    main()
