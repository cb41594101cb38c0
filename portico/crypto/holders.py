"""Which running processes hold which data keys: each process records it in its home, a rotation reads it."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from portico.crypto.keyring import RELOAD_S, Keyring
from portico.logs import logger
from portico.private_files import write_private
from portico.processes import ProcessIdentity
from portico.settings.home import Home

CHECK_S = RELOAD_S - 1

log = logger("keyring")


@dataclass(frozen=True)
class Holder:
    """One running process and the ids of the data keys that it holds."""

    part: str
    pid: int
    key_ids: tuple[str, ...]


class KeyringFollower:
    """Keeps the keyring of a process up to date and records what it holds, until the process ends."""

    def __init__(self, home: Home, keyring: Keyring, *, part: str) -> None:
        self._path = _folder(home) / f"{os.getpid()}.json"
        self._keyring = keyring
        self._part = part
        self._recorded: tuple[str, ...] = ()
        self._stop = threading.Event()

    def start(self) -> None:
        self._step()
        threading.Thread(target=self._run, name="keyring", daemon=True).start()

    def close(self) -> None:
        self._stop.set()
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._stop.wait(CHECK_S):
            self._step()

    def _step(self) -> None:
        self._keyring.refresh()
        key_ids = tuple(key.id for key in self._keyring.keys())  # noqa: SIM118 - a keyring is no mapping
        if key_ids == self._recorded:
            return
        try:
            record = {"part": self._part, **asdict(ProcessIdentity.own()), "key_ids": key_ids}
            write_private(self._path, json.dumps(record), durable=False)
            self._recorded = key_ids
        except OSError as error:  # a full disk must not end the process; a rotation waits for the record
            log.warning("keyring.not_recorded", cause=str(error))


def holders(home: Home) -> list[Holder]:
    """Of every process that runs; records of processes that were killed are removed."""
    running = []
    for path in sorted(_folder(home).glob("*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(path.read_bytes())
            process = ProcessIdentity(record["pid"], record["started"], record["boot"])
            holder = Holder(record["part"], process.pid, tuple(record["key_ids"]))
            if process.alive:
                running.append(holder)
            else:
                path.unlink()
    return running


def _folder(home: Home) -> Path:
    return home.run / "keyring"
