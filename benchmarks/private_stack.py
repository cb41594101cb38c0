"""A stack of the benchmark's own: free ports, a temporary home, a Telegram account without rate limits."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.telegram import SECRET, TOKEN

CHECKOUT = Path(__file__).parents[1]
START_TIMEOUT_S = 300


class PrivateStack:
    """`portico up --detach` in a home below the temporary directory."""

    def __init__(self, bot_url: str, *, more: str = "") -> None:
        self.home = Path(tempfile.mkdtemp(prefix="portico-bench-"))
        self._settings = f"""
port = 0
grpc_port = 0
public_url = "http://127.0.0.1:9"
[limits]
messages_per_minute = 0
failed_verifications_per_minute = 0
[models]
detect = false
[channels.telegram.default]
token = "{TOKEN}"
secret = "{SECRET}"
api_base = "{bot_url}"
bot_username = "bench_bot"
admit = "anyone"
receive = "webhook"
rate_per_s = 0
rate_per_chat_per_s = 0
{more}"""

    async def start(self) -> float:
        """Seconds until every part was ready."""
        (self.home / "portico.toml").write_text(self._settings)
        started = time.perf_counter()
        await self._portico("up", "--detach", "--no-prove")
        return time.perf_counter() - started

    async def stop(self) -> None:
        await self._portico("down")

    def remove(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def parts(self) -> dict[str, dict[str, object]]:
        content: dict[str, dict[str, object]] = json.loads((self.home / "run" / "parts.json").read_text())
        return content

    @property
    def url(self) -> str:
        return f"http://{self.parts['api']['address']}"

    @property
    def webhook(self) -> str:
        return f"{self.url}/webhooks/telegram"

    @property
    def key(self) -> str:
        """The owner's."""
        return (self.home / "cli.key").read_text().strip()

    def pids(self) -> set[int]:
        """The supervisor and everything below it."""
        roots = {int(str(part["pid"])) for part in self.parts.values() if part.get("pid")}
        children = subprocess.run(
            ["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True
        ).stdout
        pairs = [tuple(map(int, line.split())) for line in children.splitlines()]
        parents = {parent for pid, parent in pairs if pid in roots}
        tree = roots | {parent for parent in parents if parent > 1}
        while more := {pid for pid, parent in pairs if parent in tree} - tree:
            tree |= more
        return tree

    async def _portico(self, *arguments: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PORTICO_")}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "entrypoints.cli.main",
            *arguments,
            cwd=CHECKOUT,
            env={**environment, "PORTICO_HOME": str(self.home)},
            stdout=subprocess.DEVNULL,
        )
        code = await asyncio.wait_for(process.wait(), START_TIMEOUT_S)
        if code:
            raise RuntimeError(f"portico {arguments[0]} ended with {code}; see {self.home}/logs")
