"""What one stack keeps in `PORTICO_HOME/run`: who runs, where each part listens, and random credentials.

`parts.json` is `{name: {pid, address, started, boot}}`. A part that is stopped keeps its address, so that its
port stays the same; a part with several addresses has an entry for each (`temporal`, `temporal-ui`, …).
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

from portico.errors import Misconfigured
from portico.private_files import write_private
from portico.processes import ProcessIdentity
from portico.settings.connections import read_state
from portico.settings.home import Home

LOCK_TRIES = 10
CREDENTIALS: dict[str, Callable[[], str]] = {
    "opa_token": lambda: secrets.token_urlsafe(32),
    "s3_access_key": lambda: secrets.token_urlsafe(15),
    "s3_secret_key": lambda: secrets.token_urlsafe(30),
    "triton_admin_key": lambda: secrets.token_urlsafe(32),
    "sandbox_key": lambda: f"e2b_{secrets.token_hex(20)}",  # E2B's SDKs accept no other form
}


class SupervisorLock:
    """Held while a supervisor runs on a home. The kernel frees it with its process: no file gets stale."""

    def __init__(self, home: Home) -> None:
        self._path = home.run / "supervisor.lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Raises `Misconfigured` if another supervisor runs on this home."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _lock(descriptor):
            os.close(descriptor)
            raise Misconfigured(
                f"Portico already runs on {self._path.parents[1]} (process {self.holder()}); "
                "see `portico status`, stop it with `portico down`, or set PORTICO_HOME"
            )
        self._descriptor = descriptor
        self.note_holder()

    def note_holder(self) -> None:
        """Write down this process as the holder (again, after a fork)."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> int | None:
        """The process that holds the lock, or nothing."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.pread(descriptor, 20, 0) or 0) or None
        else:
            return None
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Whoever asks for the holder takes the lock for an instant, so a refusal is tried again."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False


class Registry:
    """`parts.json`, rewritten atomically at every change."""

    def __init__(self, path: Path, entries: dict[str, dict[str, Any]]) -> None:
        self._path = path
        self._entries = entries

    @classmethod
    def load(cls, home: Home) -> Self:
        return cls(home.parts, read_state(home.parts))

    def address(self, name: str) -> str | None:
        address: str | None = self._entries.get(name, {}).get("address")
        return address

    def identity(self, part: str) -> ProcessIdentity | None:
        entry = self._entries.get(part, {})
        if not entry.get("pid"):
            return None
        return ProcessIdentity(entry["pid"], entry["started"], entry.get("boot", ""))

    def names(self) -> Iterable[str]:
        return tuple(self._entries)

    def set_address(self, name: str, address: str) -> None:
        self._entries.setdefault(name, {"pid": None, "started": None})["address"] = address
        self._save()

    def set_running(self, part: str, addresses: Iterable[str], identity: ProcessIdentity | None) -> None:
        """Record the process of a part (nothing: it is stopped) under the part and each of its addresses."""
        for name in {part, *addresses}:
            entry = self._entries.setdefault(name, {"address": None})
            entry["pid"] = identity.pid if identity else None
            entry["started"] = identity.started if identity else None
            entry["boot"] = identity.boot if identity else None
        self._save()

    def _save(self) -> None:
        write_private(self._path, json.dumps(self._entries, indent=1, sort_keys=True), durable=False)


def load_credentials(home: Home) -> dict[str, str]:
    """The credentials of this home's parts; what is missing is made."""
    known = read_state(home.credentials)
    missing = {name: make() for name, make in CREDENTIALS.items() if name not in known}
    if missing:
        known |= missing
        write_private(home.credentials, json.dumps(known, indent=1))
    return {name: str(value) for name, value in known.items()}
