"""What the compose deployment reaches on this machine: `python -m benchmarks.compose`. Needs root, as its tests do.

Ready in how long, replies against the engine's floor in the same stack, one, two and four workers with a limit of
CPU each, what a turn costs in every container, memory, and the images. Prints Markdown.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.compose_load import PORT, ROOT
from benchmarks.telegram import SECRET, TOKEN
from tests.deploy.deployment import PROJECT, SITE, make, remove
from tests.deploy.machine import Docker, running_docker
from tests.deploy.provide import TAG, provide_images
from tests.support import CHECKOUT

LIMIT_CPUS = 0.25
WORKERS = (1, 2, 4)
MIB = 1024 * 1024
LOOK = """
import json, pathlib
packages = next(pathlib.Path('/opt/portico/env/lib').glob('python3*/site-packages'))
size = lambda path: sum(file.lstat().st_size for file in [path, *path.rglob('*')] if file.is_file())
print(json.dumps(sorted(((size(path), path.name) for path in packages.iterdir()), reverse=True)[:5]))
"""
SETTINGS = f"""
[limits]
messages_per_minute = 0
failed_verifications_per_minute = 0
[channels.telegram.default]
token = "{TOKEN}"
secret = "{SECRET}"
api_base = "http://bench:{PORT}"
bot_username = "bench_bot"
admit = "anyone"
receive = "webhook"
rate_per_s = 0
rate_per_chat_per_s = 0
"""


@dataclass(frozen=True)
class Spent:
    """CPU seconds since its start, and memory without what is only cached, of one service's containers."""

    cpu_s: float
    memory_mib: float


class _DockerConnection(http.client.HTTPConnection):
    """The daemon's own API on its socket: the client prints shares, not sums."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


def spent(docker: Docker) -> dict[str, Spent]:
    label = f"label=com.docker.compose.project={PROJECT}"
    form = '{{.ID}} {{.Label "com.docker.compose.service"}}'
    sums: dict[str, Spent] = {}
    for line in docker.run("ps", "--filter", label, "--format", form).splitlines():
        container, service = line.split()
        connection = _DockerConnection(docker.socket)
        connection.request("GET", f"/containers/{container}/stats?stream=false&one-shot=true")
        told = json.load(connection.getresponse())
        connection.close()
        memory = told["memory_stats"]
        cached = memory.get("stats", {}).get(
            "total_inactive_file", memory.get("stats", {}).get("inactive_file", 0)
        )
        before = sums.get(service, Spent(0, 0))
        sums[service] = Spent(
            before.cpu_s + told["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9,
            before.memory_mib + (memory.get("usage", 0) - cached) / MIB,
        )
    return sums


class Bench:
    """The deployment with a container more, from which the load comes."""

    def __init__(self, docker: Docker, folder: Path) -> None:
        self.docker = docker
        self.deployment = make(docker, folder, settings=SETTINGS)
        self._root = folder / "bench" / ROOT.name
        self._root.parent.mkdir()
        self._root.parent.chmod(0o755)
        (folder / "bench.yaml").write_text(json.dumps(self._added()))
        (folder / "limit.yaml").write_text(json.dumps({"services": {"worker": {"cpus": LIMIT_CPUS}}}))
        self._limit = folder / "limit.yaml"
        self.deployment.files.append(folder / "bench.yaml")

    def start(self, *more: str, limited: bool = False) -> float:
        files = self.deployment.files
        files[:] = [path for path in files if path != self._limit] + ([self._limit] if limited else [])
        self.deployment.up(*more)
        self._root.write_text(self.deployment.root())
        return self.deployment.ready_s

    def load(self, *arguments: str) -> dict[str, float]:
        command = ("exec", "-T", "bench", "python", "-m", "benchmarks.compose_load", *arguments)
        found: dict[str, float] = json.loads(self.deployment.compose(*command).splitlines()[-1])
        return found

    def transactions(self) -> float:
        """Committed so far in Portico's own database."""
        query = "SELECT xact_commit FROM pg_stat_database WHERE datname = 'portico'"
        psql = (
            f'PGPASSWORD=$(cat /run/secrets/postgres_password) psql -h 127.0.0.1 -U postgres -Atc "{query}"'
        )
        return float(self.deployment.compose("exec", "-T", "postgres", "sh", "-c", psql))

    def _added(self) -> dict[str, Any]:
        bench = {
            "extends": {"file": str(CHECKOUT / "compose.yaml"), "service": "worker"},
            "command": ["python", "-c", "import threading; threading.Event().wait()"],
            "healthcheck": {"test": ["CMD", "python", "-c", "pass"]},
            "volumes": [
                f"{CHECKOUT / 'benchmarks'}:/opt/portico/benchmarks:ro",
                f"{self._root.parent}:{ROOT.parent}:ro",
            ],
            "networks": ["edge", "core", "outside"],
        }
        return {"services": {"bench": bench, "caddy": {"networks": {"edge": {"aliases": [SITE]}}}}}


def replies(bench: Bench, lines: list[str], *, turns: int) -> None:
    alone = bench.load("alone", "--turns", str(turns))
    lines += [
        f"one message at a time, p50: floor {alone['floor_p50_ms']:.1f} ms, "
        f"Portico {alone['portico_p50_ms']:.1f} ms = {alone['ratio']:.2f} × (asked ≤ 1.8), "
        f"p99 {alone['portico_p99_ms']:.0f} ms, ack through TLS {alone['ack_p50_ms']:.1f} ms",
        "",
    ]


def costs(bench: Bench, lines: list[str], *, seconds: float) -> None:
    """What a turn takes of every container's CPU while 20 chats talk, and memory afterwards."""
    floor = bench.load("floor_at_once", "--seconds", str(seconds))
    before, transactions = spent(bench.docker), bench.transactions()
    found = bench.load("at_once", "--seconds", str(seconds))
    after = spent(bench.docker)
    turns = found["replies"]
    transactions = (bench.transactions() - transactions) / turns
    lines += [
        f"20 chats at once, no limit: {found['replies_per_s']:.1f} replies/s, "
        f"floor {floor['turns_per_s']:.1f} turns/s, p50 {found['p50_ms']:.0f} ms, lost {found['lost']:.0f}, "
        f"{transactions:.1f} transactions a turn in Portico's database",
        "",
        "| container | CPU ms a turn | memory MiB |",
        "|---|---|---|",
    ]
    rows = {name: (after[name].cpu_s - before[name].cpu_s) * 1000 / turns for name in after if name in before}
    for name, cost in sorted(rows.items(), key=lambda row: -row[1]):
        if name not in ("bench", "telegram"):
            lines.append(f"| {name} | {cost:.1f} | {after[name].memory_mib:.0f} |")
    own = [name for name in rows if name not in ("bench", "telegram")]
    together = sum(after[name].memory_mib for name in own)
    lines += [f"| together | {sum(rows[name] for name in own):.1f} | {together:.0f} |", ""]


def workers(bench: Bench, lines: list[str], *, seconds: float) -> None:
    lines += [
        f"each worker limited to {LIMIT_CPUS} CPU, 20 chats at once, on {os.cpu_count()} CPUs:",
        "",
        "| workers | replies/s | × one | p50 ms | lost | workers' CPUs used | all CPUs used |",
        "|---|---|---|---|---|---|---|",
    ]
    first = 0.0
    for number in WORKERS:
        bench.start("--scale", f"worker={number}", limited=True)
        time.sleep(5)
        before, began = spent(bench.docker), time.monotonic()
        found = bench.load("at_once", "--seconds", str(seconds))
        passed, after = time.monotonic() - began, spent(bench.docker)
        first = first or found["replies_per_s"]
        used = {name: (after[name].cpu_s - before[name].cpu_s) / passed for name in after}
        lines.append(
            f"| {number} | {found['replies_per_s']:.1f} | {found['replies_per_s'] / first:.2f} "
            f"| {found['p50_ms']:.0f} | {found['lost']:.0f} | {used['worker']:.2f} | {sum(used.values()):.2f} |"
        )
        print(lines[-1], flush=True)
    lines.append("")


def images(docker: Docker, lines: list[str]) -> None:
    lines += ["| image | MB unpacked | largest packages, MB |", "|---|---|---|"]
    for name in ("api", "worker", "sandbox", "triton"):
        size = int(docker.run("image", "inspect", "-f", "{{.Size}}", f"portico-{name}:{TAG}")) / 1e6
        command = ("run", "--rm", "--entrypoint", "python3", f"portico-{name}:{TAG}", "-c", LOOK)
        rows = json.loads(docker.run(*command))
        largest = ", ".join(f"{package} {size_bytes / 1e6:.0f}" for size_bytes, package in rows)
        lines.append(f"| {name} | {size:.0f} | {largest} |")


def measure(docker: Docker, *, turns: int, seconds: float) -> list[str]:
    lines: list[str] = []
    with tempfile.TemporaryDirectory(prefix="portico-bench-") as folder:
        remove(docker)
        bench = Bench(docker, Path(folder))
        try:
            first = bench.start()
            bench.deployment.down()
            lines += [f"ready: {first:.0f} s the first time, {bench.start():.0f} s again (asked ≤ 60)", ""]
            replies(bench, lines, turns=turns)
            print("\n".join(lines), flush=True)
            costs(bench, lines, seconds=seconds)
            print("\n".join(lines), flush=True)
            workers(bench, lines, seconds=seconds)
        finally:
            remove(docker)
    images(docker, lines)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=150)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--no-build", action="store_true", help="take the images that are there")
    given = parser.parse_args()
    with running_docker() as docker:
        if not given.no_build:
            provide_images(docker)
        print("\n".join(measure(docker, turns=given.turns, seconds=given.seconds)))


if __name__ == "__main__":
    main()
