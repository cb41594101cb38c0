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

from operations.deploy import secrets
from operations.deploy.certificates import Lifetime, lifetimes
from operations.deploy.compose import Compose, ComposeFailed, try_run
from operations.deploy.env_file import DEFAULT_PORT, HOST, read_env
from portico.errors import Misconfigured

OLDEST_COMPOSE = (2, 24)
MACHINES = ("x86_64", "amd64")
INNER_PORT = "8443"
ANSWERS_WITHIN_S = 2.0
SHOWN = 300


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
    yield from _gate(compose.folder)
    plugin = _plugin(compose)
    yield plugin
    daemon = _daemon()
    yield daemon
    yield _port(compose)
    if plugin.well:
        yield _configuration(compose)
    yield from _apparmor(compose.folder)
    if plugin.well and daemon.well:
        yield from _running(compose)


def _site(folder: Path) -> Finding:
    env = folder / ".env"
    host = read_env(env).get("PORTICO_SITE", "")
    if HOST.fullmatch(host):
        return Finding("site", True, host)
    if not env.exists():
        return Finding("site", False, f"{env} is missing: `portico deploy init --site NAME` makes it")
    mend = f"write PORTICO_SITE=NAME into {env}, the name under which people reach it"
    return Finding("site", False, f"PORTICO_SITE names no host: {mend}")


def _gate(folder: Path) -> Iterator[Finding]:
    """Its certificates and those of the edges, where there is a gate: they end without a word."""
    place = folder / (read_env(folder / ".env").get("PORTICO_GATE_FOLDER", "") or "hybrid/gate")
    try:
        found = sorted(lifetimes(place), key=lambda one: one.ends)
    except PermissionError:
        told = f"{place} is closed to this user: ask with sudo, too, to see when its certificates end"
        yield Finding("gate", False, told, later=True)
        return
    except Misconfigured as error:
        yield Finding("gate", False, error.message)
        return
    yield from (_ending(one) for one in found if one.is_short)
    if found and not found[0].is_short:
        yield Finding("gate", True, f"all certificates are good until {found[0].ends:%Y-%m-%d}")


def _ending(one: Lifetime) -> Finding:
    mend = f"`portico deploy edge FOLDER --renew{f' --name {one.edge}' if one.edge else ''}`"
    if one.path.name == "ca.crt":
        mend = "delete the folder and make every edge anew"
    verb = "ended" if one.is_over else "ends"
    detail = f"{one.path} {verb} on {one.ends:%Y-%m-%d}: {mend}, as docs/hybrid.md says"
    return Finding("gate", False, detail, later=not one.is_over)


def _secrets(folder: Path) -> Finding:
    try:
        problems = secrets.problems(folder)
    except PermissionError:
        problems = [f"{folder / secrets.FOLDER} is closed to this user: ask as the one who owns it"]
    return Finding(
        "secrets", not problems, "; ".join(problems) or f"{len(secrets.KEPT) + 2} files, none open to others"
    )


def _apparmor(folder: Path, kernel: Path = Path("/proc/sys/kernel")) -> Iterator[Finding]:
    """Newer Ubuntus forbid user namespaces to everything that has no profile, and sandboxes with them."""
    said = kernel / "apparmor_restrict_unprivileged_userns"
    if not said.exists() or said.read_text().strip() != "1":
        return
    named = read_env(folder / ".env").get("PORTICO_SANDBOX_APPARMOR", "")
    mend = (
        "`sudo apparmor_parser -r infra/docker/sandbox.apparmor`, then PORTICO_SANDBOX_APPARMOR=portico-sandbox "
        "in .env: without a profile this kernel sets no sandbox apart"
    )
    yield Finding("apparmor", bool(named), f"the sandbox runs under {named}" if named else mend)


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
    except OSError as error:
        if isinstance(error, PermissionError) and not _answers(address, int(given)):
            return Finding("port", True, f"{given}: nobody answers there (this user may not try to take it)")
        status, mine = compose.try_run("port", "caddy", INNER_PORT)
        if status == 0 and mine.endswith(f":{given}"):
            return Finding("port", True, f"{given} is this deployment's")
        if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
            return Finding("port", False, f"PORTICO_BIND in {env} is no address of this machine: {address}")
        return Finding("port", False, f"{given} is taken: free it, or set PORTICO_HTTPS_PORT in {env}")
    return Finding("port", True, f"{given} is free")


def _answers(address: str, port: int) -> bool:
    """Whether the port is in use, where only an administrator may bind it."""
    at = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    try:
        with socket.create_connection((at, port), timeout=ANSWERS_WITHIN_S):
            return True
    except OSError:
        return False


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
