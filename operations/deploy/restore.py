"""Puts an archive in the place of a compose deployment's data.

A table in Portico's database says from the first change to the last that it is not whole: the job `prepare` refuses
such a database, and without that job neither edge nor worker starts. Given again, the command begins again.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from operations.backup.entries import END, Entry, framed, read_entries
from operations.backup.home_archive import Tell
from operations.backup.restore import check_archive, refuse_newer
from operations.backup.sealed_stream import Lock, StreamHeader, opened
from operations.deploy import backup, secrets
from operations.deploy.compose import Compose
from operations.deploy.databases import PORTICO, TEMPORAL, Databases
from portico.errors import Conflict
from portico.private_files import write_private

LAST = "postgres_password"
"""The secret without which a machine counts as new: it is written when everything else is there."""
WHILE_PUT_BACK = ("postgres", "s3")
OF_THE_DATA = ("master_key", "keyring.json")
"""The keys that belong to what is stored; all other secrets are this machine's and stay where they are."""


@dataclass(frozen=True)
class RestoreSource:
    """An archive that was read whole before."""

    path: Path
    lock: Lock

    def entries(self) -> Iterator[tuple[Entry, Iterator[bytes]]]:
        with self.path.open("rb") as file:
            yield from read_entries(opened(file, self.lock))

    def one(self, name: str) -> Iterator[bytes]:
        for entry, content in self.entries():
            if entry.name == name:
                yield from content
                return
            for _ in content:
                pass

    def below(self, prefix: str) -> Iterator[tuple[Entry, Iterator[bytes]]]:
        for entry, content in self.entries():
            if entry.name.startswith(prefix):
                yield Entry(entry.name.removeprefix(prefix)), content
            else:
                for _ in content:
                    pass


def restore_deployment(
    compose: Compose, archive: Path, lock: Lock, *, replace: bool, master: bytes | None, tell: Tell
) -> None:
    """Raises `BadArchive`, `Conflict`, `Misconfigured`."""
    source = RestoreSource(archive, lock)
    new = not (compose.folder / secrets.FOLDER / LAST).exists()
    temporal = "" if new else backup.temporal_of(compose)
    head, count = check_archive(archive, lock, kind="compose", temporal=temporal)
    tell(f"the archive is whole: {count} files, made by {head.version}")
    if new:
        files = {entry.name: b"".join(content) for entry, content in source.below(backup.FILES)}
        refuse_newer(head, _temporal_to_be(compose, files.get(".env", b"")))
        _put_files(compose.folder, files, master)
        tell(f"secrets and settings are in {compose.folder}")
    compose.run("up", "-d", "--no-build", "--wait", *WHILE_PUT_BACK, timeout_s=None)
    databases = Databases(compose)
    if not replace and databases.holds_something():
        raise Conflict("the deployment holds data already; --replace puts the archive in its place")
    others = [name for name in compose.services() if name not in WHILE_PUT_BACK]
    compose.run("stop", *others, timeout_s=None)
    _exchange(compose, databases, source, head, master, tell)
    tell("everything is in its place; `docker compose up --wait` starts it")


def _temporal_to_be(compose: Compose, env: bytes) -> str:
    """Temporal's version on a machine that has no `.env` yet: by the one that it will have."""
    if not env or (compose.folder / ".env").exists():
        return backup.temporal_of(compose)
    with tempfile.TemporaryDirectory() as aside:
        (Path(aside) / ".env").write_bytes(env)
        return backup.temporal_of(Compose(Path(aside), compose.files, compose.project))


def _exchange(
    compose: Compose,
    databases: Databases,
    source: RestoreSource,
    head: StreamHeader,
    master: bytes | None,
    tell: Tell,
) -> None:
    databases.make_unfinished()
    _put_keys(compose.folder, source, master)
    for name in TEMPORAL:
        databases.make_anew(name)
        databases.fill(name, source.one(f"{backup.DUMPS}{name}.dump"))
        tell(f"database {name}")
    compose.write(*backup.ONCE, "objects", "load", pieces=_as_stream(source.below(backup.OBJECTS)))
    tell("objects")
    databases.fill(PORTICO, source.one(f"{backup.DUMPS}{PORTICO}.dump"))
    compose.run(*backup.ONCE, "restored", "--made-at", repr(head.made_at), timeout_s=None)
    tell(f"database {PORTICO}")


def _as_stream(entries: Iterator[tuple[Entry, Iterator[bytes]]]) -> Iterator[bytes]:
    """Entries once more in their form, for the container that takes them."""
    for entry, content in entries:
        yield from framed(entry, content)
    yield END


def _put_files(folder: Path, files: dict[str, bytes], master: bytes | None) -> None:
    """All of a deployment's files, on a machine that has none. What is there is kept.

    Wherever this is stopped, the machine still counts as new, and each file is whole or not there.
    """
    place = folder / secrets.FOLDER
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.chmod(0o700)
    if ".env" in files:
        _put(folder / ".env", files[".env"], mode=0o644)
    if master is not None:
        _put(place / backup.MASTER_KEY, backup.as_file(master), mode=secrets.READABLE)
    config = backup.config_folder(folder)  # where the `.env` that is there now says
    for name in sorted(files, key=lambda name: name == f"{secrets.FOLDER}/{LAST}"):
        kind, _, inner = name.partition("/")
        if kind == secrets.FOLDER:
            _put(place / inner, files[name], mode=secrets.READABLE)
        elif kind == "config":
            _put(config / inner, files[name], mode=0o644)


def _keys(source: RestoreSource, master: bytes | None) -> dict[str, bytes]:
    """What opens the archive's data, by the name of its file."""
    wanted = {f"{secrets.FOLDER}/{name}" for name in OF_THE_DATA}
    found = {}
    for entry, content in source.below(backup.FILES):
        whole = b"".join(content)
        if entry.name in wanted:
            found[Path(entry.name).name] = whole
    if master is not None:
        found[backup.MASTER_KEY] = backup.as_file(master)
    return found


def _put_keys(folder: Path, source: RestoreSource, master: bytes | None) -> None:
    """Former keys are kept under another name."""
    for name, content in _keys(source, master).items():
        _put_secret(folder / secrets.FOLDER / name, content)


def _put_secret(path: Path, content: bytes) -> None:
    if path.exists():
        if path.read_bytes().strip() == content.strip():
            return
        kept = path.with_name(f"{path.name}.before-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")
        write_private(kept, path.read_bytes(), mode=secrets.READABLE)
    write_private(path, content, mode=secrets.READABLE)


def _put(path: Path, content: bytes, *, mode: int) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, content, mode=mode)
