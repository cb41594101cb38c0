"""What a deployment needs before it is started: each thing that is not well is one line that says what to do."""

from __future__ import annotations

import errno
import json
import platform
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portico.deploy import secrets
from portico.deploy.compose import Compose, ComposeFailed, try_run

OLDEST_COMPOSE = (2, 24)
MACHINES = ("x86_64", "amd64")
DEFAULT_PORT = 443
INNER_PORT = "8443"
SHOWN = 300
HOST = re.compile(
    r"(?=.{1,253}$)([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)*[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. What is not well but may come `later` keeps nothing from starting."""

    what: str
    well: bool
    detail: str
    later: bool = False


def examine(compose: Compose) -> Iterator[Finding]:
    """Look at everything; nothing is changed. What runs already is asked, too."""
    machine = platform.machine()
    yield Finding("machine", machine in MACHINES, f"{machine}; the images are for x86-64 Linux")
    yield _secrets(compose.folder)
    yield _site(compose.folder)
    plugin = _plugin(compose)
    yield plugin
    daemon = _daemon()
    yield daemon
    yield _port(compose)
    if plugin.well:
        yield _configuration(compose)
    if plugin.well and daemon.well:
        yield from _running(compose)


def _site(folder: Path) -> Finding:
    host = read_env(folder / ".env").get("PORTICO_SITE", "")
    if HOST.fullmatch(host):
        return Finding("site", True, host)
    return Finding("site", False, f"PORTICO_SITE in {folder / '.env'} names no host: `portico deploy init`")


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


def _plugin(compose: Compose) -> Finding:
    status, said = compose.try_run("version", "--short")
    if status:
        return Finding(
            "compose", False, "`docker compose` is not there: install Docker with its compose plugin"
        )
    found = re.match(r"v?(\d+)\.(\d+)", said)
    new_enough = bool(found) and (int(found[1]), int(found[2])) >= OLDEST_COMPOSE  # type: ignore[index]
    needed = ".".join(map(str, OLDEST_COMPOSE))
    return Finding("compose", new_enough, said if new_enough else f"{said} is too old: {needed} is needed")


def _daemon() -> Finding:
    status, said = try_run("docker", "version", "--format", "{{.Server.Version}}")
    if status == 0 and said:
        return Finding("docker", True, said)
    return Finding(
        "docker", False, "no Docker daemon answers: start it, or let this user reach it (group docker)"
    )


def _port(compose: Compose) -> Finding:
    """Taken by this deployment itself is well."""
    env = compose.folder / ".env"
    given = read_env(env).get("PORTICO_HTTPS_PORT", "") or str(DEFAULT_PORT)
    if not given.isdecimal() or not 0 < int(given) < 65536:
        return Finding("port", False, f"PORTICO_HTTPS_PORT in {env} is no port: {given[:32]}")
    address = read_env(env).get("PORTICO_BIND", "") or "0.0.0.0"
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, int(given)))
    except PermissionError:
        return Finding("port", True, f"{given} (Docker binds it)")
    except OSError as error:
        status, mine = compose.try_run("port", "caddy", INNER_PORT)
        if status == 0 and mine.endswith(f":{given}"):
            return Finding("port", True, f"{given} is this deployment's")
        if error.errno == errno.EADDRNOTAVAIL:
            return Finding("port", False, f"PORTICO_BIND in {env} is no address of this machine: {address}")
        return Finding("port", False, f"{given} is taken: free it, or set PORTICO_HTTPS_PORT in {env}")
    return Finding("port", True, f"{given} is free")


def _configuration(compose: Compose) -> Finding:
    try:
        return Finding("compose.yaml", True, f"{len(compose.facts().get('services', {}))} services")
    except ComposeFailed as error:
        return Finding("compose.yaml", False, error.message)


def _running(compose: Compose) -> Iterator[Finding]:
    """Containers that are not well, with their last words; and what a worker says of the parts that it uses."""
    status, said = compose.try_run("ps", "-a", "--format", "json")
    rows = [json.loads(line) for line in said.splitlines() if line.startswith("{")] if status == 0 else []
    for row in rows:
        if _ails(row):
            yield Finding(
                str(row["Service"]), False, f"{row.get('Status')}: {_last_line(compose, row['Service'])}"
            )
    if any(row["Service"] == "worker" and row.get("State") == "running" for row in rows):
        _, told = compose.try_run("exec", "-T", "worker", "portico", "deploy", "check", "--parts", "--json")
        try:
            yield from (Finding(**one) for one in json.loads(told))
        except (ValueError, TypeError):
            yield Finding("parts", False, f"the worker cannot ask them: {told[-SHOWN:] or 'it says nothing'}")


def _ails(row: dict[str, Any]) -> bool:
    if row.get("State") in ("restarting", "dead") or row.get("Health") == "unhealthy":
        return True
    return row.get("State") == "exited" and row.get("ExitCode") not in (0, None)


def _last_line(compose: Compose, service: str) -> str:
    _, said = compose.try_run("logs", "--no-log-prefix", "--no-color", "--tail", "5", service)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][-SHOWN:] if lines else "it says nothing"
