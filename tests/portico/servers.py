"""Real servers for one test session, each on a free port and in a folder of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from operations.setup.binaries import VERSITYGW
from portico.settings.connections import Connections

KEY, SECRET = "portico-tests", "a-secret-of-the-tests"
START_S = 30.0


def connections(*, s3: int = 1, temporal: int = 1, secret: str = SECRET) -> Connections:
    """Where the servers of a test listen. Port 1 is one where nobody answers."""
    return Connections(
        temporal=f"127.0.0.1:{temporal}",
        namespace="default",
        opa_url="http://127.0.0.1:1",
        opa_token=SecretStr(""),
        triton="127.0.0.1:1",
        s3_url=f"http://127.0.0.1:{s3}",
        s3_access_key=KEY,
        s3_secret_key=SecretStr(secret),
        bucket="portico",
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def s3_server(folder: Path, *, port: int = 0) -> Iterator[int]:
    """VersityGW on a folder; yields its port."""
    port = port or free_port()
    for name in ("data", "versions"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    command = (
        *(str(VERSITYGW.path), "--port", f"127.0.0.1:{port}", "--quiet", "--keep-alive"),
        *("posix", "--versioning-dir", str(folder / "versions"), str(folder / "data")),
    )
    with _running(command, port, {"ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET}):
        yield port


@contextmanager
def temporal_server(folder: Path, *dynamic_config: str) -> Iterator[int]:
    """Temporal's dev server on a file, with `KEY=VALUE` of its dynamic config; yields its port."""
    port, ui, http, metrics = (free_port() for _ in range(4))
    command = (
        *(str(Path(sys.executable).with_name("temporal")), "server", "start-dev", "--headless"),
        *("--ip", "127.0.0.1", "--port", str(port), "--ui-port", str(ui), "--http-port", str(http)),
        *(
            "--metrics-port",
            str(metrics),
            "--db-filename",
            str(folder / "temporal.db"),
            "--log-level",
            "error",
        ),
        *("--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL"),
        *(part for value in dynamic_config for part in ("--dynamic-config-value", value)),
    )
    with _running(command, port, {"HOME": str(folder)}):
        yield port


@contextmanager
def _running(command: tuple[str, ...], port: int, environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await_port(process, port)
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def _await_port(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"{process.args!r} does not answer")
