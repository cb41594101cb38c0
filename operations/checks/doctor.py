"""Checks of `portico doctor`: machine, checkout, home and parts, each with its fix."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from operations.embedded.context import models_packages
from operations.embedded.state import Registry, SupervisorLock
from operations.embedded.status import read_status
from operations.embedded.triton import libpython_directory
from operations.ports import is_free
from operations.setup import system
from operations.setup.binaries import BINARIES
from portico.errors import Misconfigured
from portico.settings.home import Home
from portico.settings.load import load_settings
from portico.settings.settings import Settings


@dataclass(frozen=True)
class HomeFinding:
    """Result of one check; `mend` says how to fix it."""

    what: str
    well: bool
    detail: str = ""
    mend: str = ""


def examine(home: Home, config: Path | None = None) -> Iterator[HomeFinding]:
    """Look at everything, cheapest and most basic first."""
    yield from _machine()
    yield from _checkout()
    yield from _home(home)
    try:
        settings = load_settings(home, config)
    except Misconfigured as error:
        yield HomeFinding("settings", False, str(error), f"edit {home.settings}")
        return
    yield HomeFinding("settings", True, str(home.settings) if home.settings.exists() else "defaults")
    yield from _gate(home)
    yield from _parts(home, settings)


def _machine() -> Iterator[HomeFinding]:
    problems = system.machine_problems()
    for problem in problems:
        yield HomeFinding("machine", False, problem, "use compose on another machine")
    if not problems:
        yield HomeFinding("machine", True, "x86-64, glibc and memory are enough")
    library = libpython_directory()
    packages = " ".join(system.python_packages()) or "the package with libpython"
    mend = f"sudo apt install {packages}"
    yield HomeFinding("libpython", library is not None, str(library or "missing"), mend)


def _checkout() -> Iterator[HomeFinding]:
    for binary in BINARIES:
        yield HomeFinding(binary.name, binary.path.exists(), str(binary.path), "make setup")
    server = models_packages() / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    yield HomeFinding("tritonserver", server.exists(), str(server), "make setup")


def _home(home: Home) -> Iterator[HomeFinding]:
    if not home.root.exists():
        yield HomeFinding("home", True, f"{home.root} will be made at the first start")
        return
    private = home.root.stat().st_mode & 0o077 == 0
    mine = home.root.stat().st_uid == os.geteuid()
    yield HomeFinding("home", mine, f"{home.root}", "start Portico as the user who owns it")
    yield HomeFinding("home mode", private, "for its owner alone", f"chmod 700 {home.root}")
    yield HomeFinding(
        "attributes",
        _has_attributes(home.root),
        "extended attributes",
        "put PORTICO_HOME on ext4, xfs or btrfs",
    )
    problem = system.disk_problem(home.root)
    yield HomeFinding("disk", not problem, problem or "enough space", "free some space")


def _gate(home: Home) -> Iterator[HomeFinding]:
    """Certificates that end soon, if `portico deploy edge` was used: no other check covers them."""
    from operations.deploy.certificates import lifetimes

    try:
        found = sorted(lifetimes(home.root / "gate"), key=lambda one: one.ends)
    except Misconfigured as error:
        yield HomeFinding(
            "gate", False, error.message, "put the file back, or `portico deploy edge` as before"
        )
        return
    if found:
        first = found[0]
        detail = f"{first.path} is good until {first.ends:%Y-%m-%d}"
        yield HomeFinding("gate", not first.is_short, detail, "portico deploy edge --renew (docs/hybrid.md)")


def _has_attributes(path: Path) -> bool:
    try:
        os.setxattr(path, "user.portico", b"1")
        os.removexattr(path, "user.portico")
    except OSError:
        return False
    return True


def _parts(home: Home, settings: Settings) -> Iterator[HomeFinding]:
    if SupervisorLock(home).holder() is None:
        known = Registry.load(home).address("api")
        port = int(known.rpartition(":")[2]) if known else settings.port
        free = is_free(port, host=settings.host)
        yield HomeFinding("stack", True, "stopped; `portico up` starts it")
        yield HomeFinding(
            "port", free, f"{port} is {'free' if free else 'taken'}", "another is chosen, or set --port"
        )
        return
    for part in read_status(home, settings).parts:
        mend = f"portico logs {part.part}"
        well = part.state in ("ready", "external") or not part.needed
        yield HomeFinding(part.part, well, " ".join(filter(None, (part.state, part.reason))), mend)
