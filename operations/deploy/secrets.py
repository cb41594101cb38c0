"""The secrets of a deployment, each in a file of its own: made once, never replaced, checked before every start."""

from __future__ import annotations

import base64
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from portico.crypto.keyring import WrongMasterKey, open_keyring
from portico.errors import Misconfigured
from portico.settings.home import Home
from portico.storage.access import KEY_PREFIX

FOLDER = "secrets"
READABLE = 0o444
"""Containers read them as users of their own; the folder, 0700, keeps everybody else out."""


@dataclass(frozen=True)
class KeptSecret:
    """One secret: how it is made, and what one that may be used looks like."""

    name: str
    make: Callable[[], str]
    shape: re.Pattern[str]
    purpose: str


def _hex() -> str:
    return secrets.token_hex(24)


_HEX = re.compile(r"[0-9a-f]{48}")
MASTER_KEY = "master_key"
DATABASE_URL = "database_url"
"""Written last: where it is, everything was made."""
KEYRING = "keyring.json"
KEPT: tuple[KeptSecret, ...] = (
    KeptSecret(
        MASTER_KEY,
        lambda: base64.b64encode(os.urandom(32)).decode(),
        re.compile(r"[A-Za-z0-9+/]{43}="),
        "opens the keyring; without it nothing that was stored can be read",
    ),
    KeptSecret("postgres_password", _hex, re.compile(r"\S{24,}"), "the databases' administrator"),
    KeptSecret("temporal_db_password", _hex, re.compile(r"\S{24,}"), "Temporal's user in PostgreSQL"),
    KeptSecret("portico_db_password", _hex, re.compile(r"\S{24,}"), "Portico's user in PostgreSQL"),
    KeptSecret("opa_token", _hex, _HEX, "who may ask the rules"),
    KeptSecret(
        "s3_access_key", lambda: "portico" + secrets.token_hex(6), re.compile(r"\S{16,}"), "names S3's user"
    ),
    KeptSecret("s3_secret_key", _hex, re.compile(r"\S{24,}"), "S3's user"),
    KeptSecret("triton_admin_key", _hex, _HEX, "who may load models"),
    KeptSecret(
        "sandbox_key",
        lambda: f"e2b_{secrets.token_hex(20)}",
        re.compile(r"e2b_[0-9a-f]{40}"),
        "sandbox service",
    ),
    KeptSecret("metrics_token", _hex, _HEX, "Prometheus at the edge"),
    KeptSecret("grafana_password", _hex, re.compile(r"\S{12,}"), "the administrator of Grafana"),
    KeptSecret(
        "owner_key",
        lambda: KEY_PREFIX + secrets.token_urlsafe(32),
        re.compile(KEY_PREFIX + r"[A-Za-z0-9_-]{43}"),
        "the first owner's key, which `portico open` uses",
    ),
)


def make(folder: Path, *, database_host: str = "postgres") -> list[str]:
    """Make what is missing; names of what was made. Raises `Misconfigured` for one that cannot be used."""
    place = folder / FOLDER
    for problem in _lost_keys(place):
        raise Misconfigured(problem)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.chmod(0o700)
    made = [kept.name for kept in KEPT if _write(place / kept.name, kept.make)]
    for problem in problems(folder, whole=False):
        raise Misconfigured(problem)
    if not (place / KEYRING).exists():
        _make_keyring(place)
        made.append(KEYRING)
    password = (place / "portico_db_password").read_text().strip()
    url = f"postgresql://portico:{password}@{database_host}:5432/portico"
    if _write(place / DATABASE_URL, lambda: url):
        made.append(DATABASE_URL)
    return made


def _lost_keys(place: Path) -> list[str]:
    """What opens the data is made with the deployment, and never again: another key would open nothing of it."""
    names = [name for name in (MASTER_KEY, KEYRING) if not (place / name).exists()]
    if not names or not ((place / DATABASE_URL).exists() or (place / KEYRING).exists()):
        return []
    return [
        f"missing: {' and '.join(str(place / name) for name in names)}. What is stored was encrypted with it: put it "
        "back from the copy of secrets/ or a backup. To start anew without that data: take secrets/ away"
    ]


def problems(folder: Path, *, whole: bool = True) -> list[str]:
    """A line for each secret that is missing, weak, or open to others."""
    place = folder / FOLDER
    if not place.is_dir():
        return [f"{place} is missing: `portico deploy init {folder}` makes it"]
    lost = _lost_keys(place)
    found = list(lost)
    if place.stat().st_mode & 0o077:
        found.append(f"{place} is open to other users: chmod 700 {place}")
    for kept in KEPT:
        path = place / kept.name
        if not path.exists():
            if not (lost and kept.name == MASTER_KEY):
                found.append(f"{path} is missing ({kept.purpose}): `portico deploy init {folder}` makes it")
        elif not kept.shape.fullmatch(path.read_text(errors="replace").strip()):
            found.append(
                f"{path} is not a usable secret ({kept.purpose}): too short or of another form; "
                "put the right one back, or, if nothing was stored yet, delete it and run `portico deploy init` again"
            )
    if not found and (place / KEYRING).exists():
        found += _unopened(place)
    if whole and not lost:
        found += [
            f"{place / name} is missing: put it back from the copy of secrets/, "
            f"or let `portico deploy init {folder}` make it where nothing was stored yet"
            for name in (DATABASE_URL, KEYRING)
            if not (place / name).exists()
        ]
    return found


def _unopened(place: Path) -> list[str]:
    """Whether the one key opens the others."""
    try:
        open_keyring(Home(place), base64.b64decode((place / MASTER_KEY).read_text()))
    except WrongMasterKey:
        return [
            f"{place / MASTER_KEY} does not open {place / KEYRING}: put back the two that belong together, "
            "from the copy of secrets/ or from a backup"
        ]
    except Misconfigured as damaged:
        return [damaged.message]
    return []


def _write(path: Path, make_text: Callable[[], str]) -> bool:
    """False where the file is there: a deployment's secrets are never replaced."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(make_text() + "\n")
    path.chmod(READABLE)
    return True


def _make_keyring(place: Path) -> None:
    """The data keys, wrapped by the master key: the containers share them and change none."""
    making = Home(place / ".making")
    making.make()
    open_keyring(making, base64.b64decode((place / "master_key").read_text()))
    making.keyring.replace(place / KEYRING)
    (place / KEYRING).chmod(READABLE)
    for path in sorted(making.root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    making.root.rmdir()
