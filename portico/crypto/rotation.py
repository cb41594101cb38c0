"""Changes of a keyring file, each one durable write: stopped anywhere, the next call goes on from what is stored.

A new data key is first known (every process can decrypt with it) and only then current (processes encrypt with it).
In between the caller waits until every process has read the file again.
"""

from __future__ import annotations

import base64
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag

from portico.crypto.keyring import (
    CURRENT,
    FIXED,
    FORMER,
    KNOWN,
    NEXT_WRAP,
    PURPOSES,
    Entry,
    WrongMasterKey,
    as_file,
    current_ids,
    master_key_file,
    new_key,
    read_entries,
    read_master_key,
    unwrap,
    unwrapped,
    wrap,
    wrapped,
)
from portico.errors import Misconfigured
from portico.private_files import write_private
from portico.settings.home import Home

ROTATED = tuple(purpose for purpose in PURPOSES if purpose not in FIXED)
REASONS = {
    "id": "names of conversations and people are derived from it; with another key each would begin again",
    "index": "search tokens and equal values in the database are derived from it; with another key nothing is found",
    "database": "it encrypts the database file as a whole, which would have to be rewritten (PRAGMA rekey)",
}


@dataclass(frozen=True)
class StoredKeyring:
    """Where a keyring and its master key are stored, and how their files are replaced.

    `in_place`: the files are mounted into containers one by one. A mounted file does not follow a rename, so its
    content is written over; the complete content is stored in a second file first.
    """

    keyring: Path
    master_key: Path | None
    """None: the master key is the value of an environment variable."""
    in_place: bool = False

    @property
    def next_master_key(self) -> Path | None:
        return self.master_key and self.master_key.with_name(f".{self.master_key.name}.next")


@dataclass(frozen=True)
class KeyInfo:
    """What may be shown of a key."""

    id: str
    purpose: str
    state: str
    made_at: int


def stored_in(home: Home) -> StoredKeyring:
    """Where a home keeps its keys. Raises `Misconfigured` where they are mounted from somewhere else."""
    if home.keyring.is_symlink() or os.path.ismount(home.keyring):
        raise Misconfigured(
            f"{home.keyring} is mounted from a deployment's secrets: rotate where those are, with "
            "`portico keyring rotate PURPOSE --folder DEPLOYMENT` (docs/operations.md)"
        )
    return StoredKeyring(home.keyring, master_key_file(home))


@contextmanager
def rotation_lock(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """One rotation at a time for the keyring in a folder. Raises `Misconfigured`.

    `shared`: of a backup, whose files must be of one state.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Misconfigured(f"{folder} cannot be opened ({error.strerror})") from None
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Misconfigured(
            f"another rotation or a backup works on {folder}: wait until it has ended"
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)


def list_keys(keyring: Path) -> list[KeyInfo]:
    """Every key, oldest first of its purpose; nothing that is secret. Raises `Misconfigured`."""
    entries = read_entries(keyring)
    current = current_ids(entries)
    listed = []
    for entry in entries:
        encrypts = current.get(entry["purpose"]) == entry["id"]
        state = CURRENT if encrypts else KNOWN if entry.get("state") == KNOWN else FORMER
        made_at = int(entry.get("made_at") or entry.get("wrapped_at") or 0)
        listed.append(KeyInfo(entry["id"], entry["purpose"], state, made_at))
    return listed


def announce_key(stored: StoredKeyring, purpose: str, *, master: bytes) -> KeyInfo:
    """Store a new key that does not encrypt yet, or find the one that a stopped rotation left. Raises `Misconfigured`.

    It stands before the current key: versions before take the last one of a purpose.
    """
    check_purpose(purpose)
    finish_writing(stored.keyring)
    unwrapped(stored.keyring, master)
    for key in list_keys(stored.keyring):
        if key.purpose == purpose and key.state == KNOWN:
            return key
    entries = read_entries(stored.keyring)
    entry = wrapped(new_key(purpose), master, state=KNOWN)
    if any(NEXT_WRAP in known for known in entries):
        raise Misconfigured(
            "a rotation of the master key is not finished: `portico keyring rotate master` first"
        )
    at = next(number for number, known in enumerate(entries) if known["purpose"] == purpose)
    _write(stored, stored.keyring, as_file([*entries[:at], entry, *entries[at:]]))
    return KeyInfo(entry["id"], purpose, KNOWN, entry["made_at"])


def make_current(stored: StoredKeyring, key_id: str) -> None:
    """From here on the key encrypts. It becomes the last one, for versions before. Raises `Misconfigured`."""
    finish_writing(stored.keyring)
    entries = read_entries(stored.keyring)
    chosen = next((entry for entry in entries if entry["id"] == key_id), None)
    if chosen is None:
        raise Misconfigured(f"{stored.keyring} holds no key {key_id}")
    current = current_ids(entries)
    others = [
        entry | ({"state": FORMER} if current[entry["purpose"]] == entry["id"] else {})
        if entry["purpose"] == chosen["purpose"]
        else entry
        for entry in entries
        if entry is not chosen
    ]
    _write(stored, stored.keyring, as_file([*others, chosen | {"state": CURRENT}]))


def check_purpose(purpose: str) -> None:
    """Raises `Misconfigured` for a key that is made once, with the reason."""
    if purpose in REASONS:
        raise Misconfigured(f"the {purpose} key is made once and never rotated: {REASONS[purpose]}")
    if purpose not in ROTATED:
        raise Misconfigured(
            f"no key is called {purpose!r}, so it is never rotated; there are {', '.join(ROTATED)}, master"
        )


# --- master key ----------------------------------------------------------------------------------------


def begin_master_rotation(stored: StoredKeyring, *, current: bytes, new: bytes) -> bytes:
    """Wrap every key with both master keys. Returns the next master key, which is that of a stopped rotation.

    From here on either master key opens the keyring.
    """
    finish_writing(stored.keyring)
    following = stored.next_master_key
    if following is not None:
        if following.exists():
            new = read_master_key(following)
        else:
            with _write_errors(following):
                write_private(following, base64.b64encode(new) + b"\n")
    entries = read_entries(stored.keyring)
    keys = unwrapped(stored.keyring, current).keys
    both = [entry | {NEXT_WRAP: wrap(key, new)} for entry, key in zip(entries, keys, strict=True)]
    _write(stored, stored.keyring, as_file(both))
    return new


def replace_master_file(stored: StoredKeyring, *, keep_as: Path | None = None) -> None:
    """Put the next master key into the place of the current one; the former stays in `keep_as`, for backups."""
    if stored.master_key is None or stored.next_master_key is None or not stored.next_master_key.exists():
        return
    finish_writing(stored.master_key)
    content = stored.next_master_key.read_bytes()
    former = stored.master_key.read_bytes()
    if keep_as is not None and former.strip() != content.strip():
        write_private(keep_as, former, exclusive=True)
    _write(stored, stored.master_key, content)


def end_master_rotation(stored: StoredKeyring, *, master: bytes) -> bool:
    """Drop what the former master key opens. False where there is nothing to drop. Raises `WrongMasterKey`."""
    finish_writing(stored.keyring)
    entries = read_entries(stored.keyring)
    pending = any(NEXT_WRAP in entry for entry in entries)
    if pending:
        try:
            for entry in entries:
                unwrap({**entry, "wrapped": entry[NEXT_WRAP]}, master)
        except InvalidTag:
            raise WrongMasterKey(stored.keyring) from None
        now = int(time.time())
        _write(stored, stored.keyring, as_file([_next_only(entry, now) for entry in entries]))
    if stored.next_master_key is not None:
        stored.next_master_key.unlink(missing_ok=True)
    return pending


def opens_next_wrap(keyring: Path, master: bytes) -> bool | None:
    """Whether this is the next master key of a rotation in progress; None where there is no such rotation."""
    entries = read_entries(keyring)
    if not any(NEXT_WRAP in entry for entry in entries):
        return None
    try:
        unwrap({**entries[0], "wrapped": entries[0][NEXT_WRAP]}, master)
    except InvalidTag:
        return False
    return True


def _next_only(entry: Entry, now: int) -> Entry:
    kept = {name: value for name, value in entry.items() if name != NEXT_WRAP}
    made_at = entry.get("made_at") or entry.get("wrapped_at") or now
    return kept | {"wrapped": entry[NEXT_WRAP], "wrapped_at": now, "made_at": made_at}


# --- files ---------------------------------------------------------------------------------------------


def finish_writing(path: Path) -> None:
    """Complete a write in place that was stopped, from the second file. Raises `Misconfigured`."""
    staged = _staged(path)
    if staged.exists():
        with _write_errors(path):
            _overwrite(path, staged.read_bytes())
            staged.unlink()


def _write(stored: StoredKeyring, path: Path, content: bytes) -> None:
    """Raises `Misconfigured` where the file cannot be written."""
    with _write_errors(path):
        if not stored.in_place:
            write_private(path, content, mode=path.stat().st_mode & 0o777)
            return
        write_private(_staged(path), content)
        _overwrite(path, content)
        _staged(path).unlink()


def _overwrite(path: Path, content: bytes) -> None:
    """One write over the content, never shorter than before: a reader meanwhile sees the former or the new one."""
    mode = path.stat().st_mode & 0o777
    path.chmod(mode | 0o200)
    try:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            padded = content.ljust(os.fstat(descriptor).st_size, b"\n")
            os.pwrite(descriptor, padded, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    finally:
        path.chmod(mode)


def _staged(path: Path) -> Path:
    return path.with_name(f".{path.name}.writing")


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Misconfigured(
            f"{path} cannot be written ({error.strerror}): run this as the account that owns it; nothing was changed"
        ) from None
