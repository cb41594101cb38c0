"""What a deployment needs before it is started: each thing that is not well is one line that says what to do."""

from __future__ import annotations

import json
import platform
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from portico.deploy import secrets

OLDEST_COMPOSE = (2, 24)
MACHINES = ("x86_64", "amd64")
TIMEOUT_S = 20
HOST = re.compile(
    r"(?=.{1,253}$)([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)*[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
)


@dataclass(frozen=True)
class Finding:
    what: str
    well: bool
    detail: str


def examine(folder: Path, compose_file: Path) -> Iterator[Finding]:
    """Look at everything; nothing is changed."""
    machine = platform.machine()
    yield Finding("machine", machine in MACHINES, f"{machine}; the images are for x86-64 Linux")
    yield _secrets(folder)
    values = read_env(folder / ".env")
    host = values.get("PORTICO_SITE", "")
    yield Finding(
        "site",
        bool(HOST.fullmatch(host)),
        host
        if HOST.fullmatch(host)
        else f"PORTICO_SITE in {folder / '.env'} names no host: `portico deploy init`",
    )
    yield _compose()
    yield _port(int(values.get("PORTICO_HTTPS_PORT") or 443), folder, compose_file)
    yield _configuration(folder, compose_file)


def read_env(path: Path) -> dict[str, str]:
    """The variables of a `.env` file; none where it is missing."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _secrets(folder: Path) -> Finding:
    problems = secrets.problems(folder)
    return Finding(
        "secrets", not problems, "; ".join(problems) or f"{len(secrets.KEPT) + 2} files, none open to others"
    )


def _compose() -> Finding:
    said = _output("docker", "compose", "version", "--short")
    if said is None:
        return Finding(
            "compose", False, "`docker compose` is not there: install Docker with its compose plugin"
        )
    found = re.match(r"v?(\d+)\.(\d+)", said)
    new_enough = bool(found) and (int(found[1]), int(found[2])) >= OLDEST_COMPOSE  # type: ignore[index]
    needed = ".".join(map(str, OLDEST_COMPOSE))
    return Finding(
        "compose", new_enough, f"{said}" if new_enough else f"{said} is too old: {needed} is needed"
    )


def _port(port: int, folder: Path, compose_file: Path) -> Finding:
    """Taken by this deployment itself is well."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("0.0.0.0", port))
    except PermissionError:
        return Finding("port", True, f"{port} (Docker binds it)")
    except OSError:
        mine = _output(
            "docker",
            "compose",
            "-f",
            str(compose_file),
            "--project-directory",
            str(folder),
            "port",
            "caddy",
            "443",
        )
        if mine and mine.endswith(f":{port}"):
            return Finding("port", True, f"{port} is this deployment's")
        return Finding(
            "port", False, f"{port} is taken: free it, or set PORTICO_HTTPS_PORT in {folder / '.env'}"
        )
    return Finding("port", True, f"{port} is free")


def _configuration(folder: Path, compose_file: Path) -> Finding:
    command = (
        "docker",
        "compose",
        "-f",
        str(compose_file),
        "--project-directory",
        str(folder),
        "config",
        "--format",
        "json",
    )
    said = _output(*command)
    if said is None:
        return Finding("compose.yaml", False, f"`{' '.join(command[:-2])} -q` says what is wrong")
    return Finding("compose.yaml", True, f"{len(json.loads(said).get('services', {}))} services")


def _output(*command: str) -> str | None:
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run(
            (program, *command[1:]), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
