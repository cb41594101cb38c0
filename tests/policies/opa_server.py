"""A real OPA for the tests, started as the embedded stack starts it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from operations.rules.bundle import OPA_ENVIRONMENT, bundle_path, opa_command
from operations.setup.binaries import find_binary
from portico.settings.home import Home

TOKEN = "the-token-of-this-test"
START_S = 10


def opa_binary() -> Path:
    found = find_binary("opa") or (Path(on_path) if (on_path := shutil.which("opa")) else None)
    assert found, "no OPA on this machine: `make setup` builds it"
    return found


@dataclass(frozen=True)
class OpaServer:
    home: Home
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(self, method: str, path: str, body: bytes | None = None, *, token: str = "") -> int:
        """The status of one plain request."""
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {token}"} if token else {}
        )
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=headers)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                request, timeout=5
            ) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code


@contextlib.contextmanager
def running_opa(home: Home) -> Iterator[OpaServer]:
    """OPA on the bundle that lies in `home`."""
    assert bundle_path(home).exists()
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
    log = home.root / "opa.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            opa_command(opa_binary(), home, port), env=OPA_ENVIRONMENT, stdout=sink, stderr=sink
        )
    server = OpaServer(home, port, process, log)
    try:
        _wait(server)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait(server: OpaServer) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            if server.request("GET", "/health") == 200:
                return
        assert server.process.poll() is None, server.log.read_text()
        time.sleep(0.02)
    raise AssertionError(f"OPA did not start: {server.log.read_text()}")
