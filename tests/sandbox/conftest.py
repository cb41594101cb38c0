"""One sandbox service for all tests here, spoken to by the unmodified SDK."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from operations.setup.binaries import CHECKOUT, RUNSC

READY_S = 120.0


@dataclass
class Service:
    """A running service: its address, key and process."""

    url: str
    key: str
    process: subprocess.Popen[bytes]
    folder: Path

    def open_pictures(self) -> list[Path]:
        """What lies in memory beside the sandboxes: the picture of a fresh one, and what is being written."""
        name = hashlib.sha256(str((self.folder / "state").resolve()).encode()).hexdigest()[:16]
        return [
            path
            for path in Path(f"/dev/shm/portico-sandbox-{os.getuid()}-{name}").rglob("*")
            if path.is_file()
        ]

    @property
    def options(self) -> dict[str, str]:
        """What the SDK needs to be told."""
        return {"api_key": self.key, "api_url": self.url, "sandbox_url": self.url}


def start_service(folder: Path, *more: str, through: Sequence[str] = ()) -> Service:
    """`through`: the command that starts the command."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["--port", str(port), "--state-dir", folder / "state", "--key-file", folder / "key", *more]
    command = [*through, sys.executable, "-m", "sandbox", "--runsc", RUNSC.path, *arguments]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=CHECKOUT, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    until = time.monotonic() + READY_S
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/healthz", timeout=2).close()
            return Service(url, (folder / "key").read_text().strip(), process, folder)
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    process.kill()
    raise AssertionError(f"the service did not start: {(folder / 'log').read_text()}")


def stop_service(service: Service) -> None:
    service.process.terminate()
    try:
        service.process.wait(30)
    except subprocess.TimeoutExpired:
        service.process.kill()
        service.process.wait()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    if not RUNSC.path.exists():
        pytest.skip(
            "runsc is not built: `operations/setup/run.sh sandbox` builds it from infra/binaries/runsc"
        )
    running = start_service(tmp_path_factory.mktemp("sandbox"))
    yield running
    stop_service(running)


MakeService = Callable[..., Service]


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[MakeService]:
    if not RUNSC.path.exists():
        pytest.skip(
            "runsc is not built: `operations/setup/run.sh sandbox` builds it from infra/binaries/runsc"
        )
    made: list[Service] = []

    def make(*more: str) -> Service:
        made.append(start_service(tmp_path, *more))
        return made[-1]

    yield make
    for each in made:
        stop_service(each)
