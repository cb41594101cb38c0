"""A real PostgreSQL for the tests: the machine's own, else the binaries of a wheel; as an ordinary user."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.portico.servers import free_port

START_TIMEOUT_S = 30


@dataclass(frozen=True)
class PostgresServer:
    """A running server that only loopback and its tests' password reach."""

    port: int
    password: str
    process: subprocess.Popen[bytes]

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://portico:{self.password}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """URL of a fresh, empty database."""
        name = f"t{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def kill(self) -> None:
        """As a power cut: the server and every process of it (each leads a session of its own)."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for process in (pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait()

    def drop(self, url: str) -> None:
        name = url.rpartition("/")[2]
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def postgres_programs() -> Path:
    """The folder with `initdb` and `postgres`: PostgreSQL refuses to run as root, so it must be readable by others."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    wheel = importlib.util.find_spec("pgserver")
    assert wheel is not None and wheel.origin, "neither PostgreSQL nor the wheel pgserver is here"
    return Path(wheel.origin).parent / "pginstall" / "bin"


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    programs, port, password = postgres_programs(), free_port(), uuid.uuid4().hex
    with tempfile.TemporaryDirectory(prefix="portico-pg-") as folder:
        root = Path(folder)
        identity = _ordinary_user()
        if identity:
            programs = _readable(programs, root)
            os.chown(root, *identity)
        root.chmod(0o755)
        secret = root / "password"
        secret.write_text(password)
        if identity:
            os.chown(secret, *identity)
        options = {"user": identity[0], "group": identity[1], "extra_groups": []} if identity else {}
        data = root / "data"
        subprocess.run(
            (
                *(programs / "initdb", "-D", data, "-U", "portico", "-E", "UTF8", "--locale=C.UTF-8"),
                *("--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync"),
            ),
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            **options,  # type: ignore[call-overload]
        )
        with (root / "log").open("wb") as log:
            process = subprocess.Popen(
                (
                    *(programs / "postgres", "-D", data, "-p", str(port), "-k", ""),
                    *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=120"),
                ),
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd="/",
                **options,  # type: ignore[call-overload]
            )
        server = PostgresServer(port, password, process)
        try:
            _wait(server, root / "log")
            yield server
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ordinary_user() -> tuple[int, int] | None:
    """Nobody's ids where the tests run as root."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _readable(programs: Path, root: Path) -> Path:
    """The programs where another user may run them: a wheel below root's home is copied."""
    if all(os.stat(parent).st_mode & 0o001 for parent in (programs, *programs.parents)):
        return programs
    copied = root / "pginstall"
    shutil.copytree(programs.parent, copied, symlinks=True)
    libraries = programs.parent.parent.parent / "pgserver.libs"
    if libraries.exists():
        shutil.copytree(libraries, root.parent / libraries.name, dirs_exist_ok=True)
    return copied / "bin"


def _wait(server: PostgresServer, log: Path) -> None:
    ends = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(server.url(), connect_timeout=1).close()
        except psycopg.OperationalError:
            assert server.process.poll() is None, log.read_text()
            assert time.monotonic() < ends, log.read_text()
            time.sleep(0.05)
        else:
            return
