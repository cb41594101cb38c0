"""All of a compose deployment in one encrypted file, made while it runs.

Temporal's databases first, ours after them, objects before and after: the order and its reasons are those of a home
(`operations.backup.home_archive`). The dumps are taken by PostgreSQL's own program, each of one state.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from operations.backup.entries import Entry, EntryWriter, in_pieces, read_entries
from operations.backup.home_archive import Tell
from operations.backup.sealed_stream import Lock, SealedWriter, StreamHeader
from operations.deploy import secrets
from operations.deploy.compose import Compose
from operations.deploy.databases import PORTICO, TEMPORAL, Databases
from operations.deploy.env_file import read_env
from portico.version import portico_version

ONCE = ("run", "--rm", "-T", "--no-deps", "prepare", "portico", "deploy")
"""A container of the deployment for one command: it knows S3, the database and the keys."""
OBJECTS, DUMPS, FILES = "objects/", "postgres/", "deployment/"
MASTER_KEY = "master_key"


def head_of(compose: Compose, lock: Lock) -> StreamHeader:
    """Raises `Misconfigured` where the deployment does not run or holds nothing."""
    return StreamHeader(
        kind="compose",
        version=portico_version(),
        schema=Databases(compose).schema(),
        made_at=time.time(),
        locked_by=lock.by,
        temporal=temporal_of(compose),
    )


def temporal_of(compose: Compose) -> str:
    """The server's version, as its image names it."""
    image = str(compose.facts()["services"]["temporal"]["image"])
    return image.rpartition(":")[2]


def save_deployment(compose: Compose, out: IO[bytes], *, head: StreamHeader, lock: Lock, tell: Tell) -> None:
    """Raises `ComposeFailed`; what was written until then is no archive."""
    sealed = SealedWriter(out, head, lock)
    writer = EntryWriter(sealed)
    known: set[str] = set()
    _add_objects(compose, writer, known)
    tell(f"objects: {len(known)}")
    databases = Databases(compose)
    for name in (*TEMPORAL, PORTICO):
        with databases.dump(name) as dump:
            size = writer.add(Entry(f"{DUMPS}{name}.dump"), in_pieces(dump))
        tell(f"database {name}: {size / 1024 / 1024:.1f} MiB")
    _add_objects(compose, writer, known)
    for name, path in _files(compose.folder, with_master_key=lock.by == "passphrase"):
        with path.open("rb") as file:
            writer.add(Entry(FILES + name), in_pieces(file))
    writer.finish()
    sealed.finish()
    tell(f"{writer.count} files in all")


def _add_objects(compose: Compose, writer: EntryWriter, known: set[str]) -> None:
    names = "\n".join(sorted(known)).encode()
    with compose.reading(*ONCE, "objects", "save", given=[names]) as out:
        for entry, content in read_entries(in_pieces(out)):
            writer.add(Entry(OBJECTS + entry.name), content)
            known.add(entry.name)


def _files(folder: Path, *, with_master_key: bool) -> Iterator[tuple[str, Path]]:
    """Secrets, settings and `.env`."""
    for path in sorted((folder / secrets.FOLDER).iterdir()):
        left_over = path.name.startswith(".")  # of a restore that was broken off
        former = path.name.startswith(f"{MASTER_KEY}.")  # of a rotation or a restore
        hidden = former or (path.name == MASTER_KEY and not with_master_key)
        if path.is_file() and not left_over and not hidden:
            yield f"{secrets.FOLDER}/{path.name}", path
    config = config_folder(folder)
    for path in sorted(config.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield f"config/{path.relative_to(config).as_posix()}", path
    if (folder / ".env").exists():
        yield ".env", folder / ".env"


def config_folder(folder: Path) -> Path:
    given = read_env(folder / ".env").get("PORTICO_CONFIG_FOLDER", "")
    return folder / (given or "config")


def master_key(folder: Path) -> bytes:
    """Of this deployment. Raises `Misconfigured`."""
    from portico.crypto.keyring import read_master_key

    return read_master_key(folder / secrets.FOLDER / MASTER_KEY)


def as_file(master: bytes) -> bytes:
    return base64.b64encode(master) + b"\n"
