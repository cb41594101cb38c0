"""Keys at rest: one master key wraps the random data keys; key ids travel with the ciphertext.

The master key comes from `PORTICO_MASTER_KEY` or from a 0600 file made at first start. `portico.crypto.rotation`
changes the file; running processes follow it. The id key is made once and never changes (else every conversation
would get another workflow id).
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from portico.errors import Misconfigured, PorticoError
from portico.logs import logger
from portico.private_files import write_private
from portico.settings.home import Home
from portico.settings.secret_files import read_secret_file

KEY_BYTES = 32
NONCE_BYTES = 12
PURPOSES = ("payload", "blob", "database", "id", "index", "live", "seal")
FIXED = ("database", "id", "index")
"""Made once: names, search tokens and the database file are derived from them."""
KNOWN, CURRENT, FORMER = "known", "current", "former"
"""States of a key: it decrypts only because it is new, it encrypts, it decrypts only because it is old."""
NEXT_WRAP = "wrapped_next"
"""The same key under the next master key, while the master key is rotated."""
RELOAD_S = 5.0
UNKNOWN_KEY_S = 1.0
"""Apart from each other, so that forged key ids do not make a process read its keyring all the time."""
BETWEEN_FILES_S = 0.2

Entry = dict[str, Any]
log = logger("keyring")


class WrongMasterKey(Misconfigured):
    def __init__(self, keyring: Path) -> None:
        super().__init__(
            f"the master key does not open {keyring}; restore the right {keyring.parent / 'master.key'} "
            "or PORTICO_MASTER_KEY (nothing was changed)"
        )


@dataclass(frozen=True)
class DataKey:
    """One random 256-bit key and what it is for."""

    id: str
    purpose: str
    secret: bytes

    def encrypt(self, plain: bytes, *, context: bytes = b"") -> bytes:
        """nonce (12 bytes) + AES-256-GCM ciphertext and tag; `context` is authenticated, not stored."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, context)

    def decrypt(self, sealed: bytes, *, context: bytes = b"") -> bytes:
        """Raises `InvalidTag` where key, context or bytes are not the ones that were encrypted."""
        return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)

    @cached_property
    def _cipher(self) -> AESGCM:
        """The key schedule is made once: payloads are small and many."""
        return AESGCM(self.secret)


@dataclass(frozen=True)
class Keys:
    """The keys of a keyring file: oldest first, and the id of the key that encrypts for each purpose."""

    keys: tuple[DataKey, ...]
    current: Mapping[str, str]


class Keyring:
    """The unwrapped data keys of one Portico. The current key of a purpose encrypts, all of them decrypt.

    With a `source`, the keyring follows its file: it reads the file again at most `RELOAD_S` after a change, and
    at once (`UNKNOWN_KEY_S` apart) for a key id that it does not know. A key never leaves a running process.
    """

    def __init__(self, keys: tuple[DataKey, ...], *, source: KeySource | None = None) -> None:
        self._lock = threading.Lock()
        self._source = source
        self._mark = source.mark() if source else None
        self._read_at = self._checked_at = time.monotonic()
        self._take(source.read() if source else Keys(keys, {key.purpose: key.id for key in keys}))

    def current(self, purpose: str) -> DataKey:
        if self._source and time.monotonic() - self._checked_at > RELOAD_S:
            self.refresh()
        return self._current[purpose]

    def by_id(self, key_id: str) -> DataKey:
        """Raises KeyError for a key that this Portico never had."""
        known = self._by_id.get(key_id)
        if known is None and self._source and time.monotonic() - self._read_at > UNKNOWN_KEY_S:
            self.refresh(changed_only=False)
        return known or self._by_id[key_id]

    def keys(self) -> tuple[DataKey, ...]:
        return tuple(self._by_id.values())

    def refresh(self, *, changed_only: bool = True) -> None:
        """Read the file again. A file that cannot be read or belongs to another Portico changes nothing."""
        if self._source is None:
            return
        with self._lock:
            self._checked_at = time.monotonic()
            mark = self._source.mark()
            if changed_only and mark == self._mark:
                return
            self._read_at = self._checked_at
            try:
                keys = self._source.read()
            except (PorticoError, OSError) as error:
                log.warning("keyring.not_reloaded", cause=str(error))
                return
            if any(
                key.secret != self._current[key.purpose].secret for key in keys.keys if key.purpose in FIXED
            ):
                log.error("keyring.not_reloaded", cause="the file holds the keys of another Portico")
                return
            self._mark = mark
            self._take(
                Keys((*(key for key in self.keys() if key not in keys.keys), *keys.keys), keys.current)
            )

    def _take(self, keys: Keys) -> None:
        """`_by_id` first: what another thread encrypts with is what every thread can decrypt."""
        self._by_id = {key.id: key for key in keys.keys}
        self._current = {purpose: self._by_id[key_id] for purpose, key_id in keys.current.items()}


class KeySource(Protocol):
    """Where a running process reads its keyring again."""

    def mark(self) -> object:
        """Changes when the file may have changed."""
        ...

    def read(self) -> Keys:
        """Raises `Misconfigured` or `OSError`."""
        ...


@dataclass(frozen=True)
class FileSource:
    """The file of a home, however it is replaced: renamed, written in place, or by a swapped symbolic link."""

    home: Home
    master: bytes | None = None
    """None: read again each time, for the master key is rotated as well."""

    def mark(self) -> object:
        try:
            facts = self.home.keyring.stat()
        except OSError:
            return None
        return facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_size

    def read(self) -> Keys:
        if self.master is not None:
            return unwrapped(self.home.keyring, self.master)
        try:
            return unwrapped(self.home.keyring, load_master_key(self.home))
        except WrongMasterKey:  # both files change in a rotation of the master key: read between the two
            time.sleep(BETWEEN_FILES_S)
            return unwrapped(self.home.keyring, load_master_key(self.home))


def open_keyring(home: Home, master: bytes | None = None) -> Keyring:
    """The keyring of this home, made at first start. Raises `WrongMasterKey` where it does not open."""
    if not home.keyring.exists():
        keys = tuple(new_key(purpose) for purpose in PURPOSES)
        entries = [wrapped(key, master or load_master_key(home), state=CURRENT) for key in keys]
        write_private(home.keyring, as_file(entries), exclusive=True)
    return Keyring((), source=FileSource(home, master))


def load_master_key(home: Home) -> bytes:
    """32 bytes from the environment or the 0600 file, which is made at the very first start."""
    if (key := master_key_from_environment()) is not None:
        return key
    wrapped_before = home.keyring.exists()  # read first: another process of this first start may create both
    if not home.master_key.exists():
        if wrapped_before:
            raise Misconfigured(
                f"{home.master_key} is missing, but {home.keyring} was encrypted with it; "
                "put the file back or set PORTICO_MASTER_KEY"
            )
        write_private(home.master_key, base64.b64encode(os.urandom(KEY_BYTES)), exclusive=True)
    return _decode_master(home.master_key.read_text().strip(), where=str(home.master_key))


def master_key_from_environment() -> bytes | None:
    text = os.environ.get("PORTICO_MASTER_KEY")  # noqa: TID251 - reserved name, never a setting
    if not text:
        return None
    if text.startswith("file:"):
        text = read_secret_file(text.removeprefix("file:"), wanted_by="PORTICO_MASTER_KEY")
    return _decode_master(text, where="PORTICO_MASTER_KEY")


def master_key_file(home: Home) -> Path | None:
    """The file that holds the master key; None where it is the value of PORTICO_MASTER_KEY itself."""
    reference = os.environ.get("PORTICO_MASTER_KEY")  # noqa: TID251 - reserved name, never a setting
    if not reference:
        return home.master_key
    if not reference.startswith("file:"):
        return None
    return Path(reference.removeprefix("file:")).expanduser().resolve()


def read_master_key(path: Path) -> bytes:
    """Of a file; none is made. Raises `Misconfigured`."""
    return _decode_master(read_secret_file(path, wanted_by="the master key"), where=str(path))


def new_key(purpose: str) -> DataKey:
    return DataKey(id=f"{purpose[0]}{secrets.token_hex(6)}", purpose=purpose, secret=os.urandom(KEY_BYTES))


def wrapped(key: DataKey, master: bytes, *, state: str) -> Entry:
    """An entry of the file. `state` and `made_at` are not known to versions before: there the last key encrypts."""
    now = int(time.time())
    return {
        "id": key.id,
        "purpose": key.purpose,
        "state": state,
        "made_at": now,
        "wrapped_at": now,
        "wrapped": wrap(key, master),
    }


def wrap(key: DataKey, master: bytes) -> str:
    sealed = _wrapping(master).encrypt(key.secret, context=_wrap_context(key.id, key.purpose))
    return base64.b64encode(sealed).decode()


def as_file(entries: list[Entry]) -> bytes:
    return json.dumps({"version": 1, "keys": entries}, indent=1).encode()


def read_entries(path: Path) -> list[Entry]:
    """The entries of a keyring file as they are. Raises `Misconfigured`."""
    try:
        entries = json.loads(path.read_bytes())["keys"]
        if not all(
            isinstance(entry[name], str) for entry in entries for name in ("id", "purpose", "wrapped")
        ):
            raise TypeError
    except OSError as error:
        raise Misconfigured(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
    return list(entries)


def unwrapped(path: Path, master: bytes) -> Keys:
    """Raises `WrongMasterKey`, or `Misconfigured` where the file is damaged."""
    entries = read_entries(path)
    try:
        keys = tuple(unwrap(entry, master) for entry in entries)
    except InvalidTag:
        raise WrongMasterKey(path) from None
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
    if missing := set(PURPOSES) - {key.purpose for key in keys}:
        raise Misconfigured(f"{path} is damaged (no {min(missing)} key); restore it from a backup")
    return Keys(keys, current_ids(entries))


def current_ids(entries: list[Entry]) -> dict[str, str]:
    """The key that encrypts for each purpose: the one that says so; in files of versions before, the last."""
    last = {entry["purpose"]: entry["id"] for entry in entries if entry.get("state") != KNOWN}
    return last | {entry["purpose"]: entry["id"] for entry in entries if entry.get("state") == CURRENT}


def unwrap(entry: Entry, master: bytes) -> DataKey:
    """Opens with either master key while the master key is rotated. Raises `InvalidTag`."""
    key_id, purpose = str(entry["id"]), str(entry["purpose"])
    context, cipher = _wrap_context(key_id, purpose), _wrapping(master)
    try:
        secret = cipher.decrypt(base64.b64decode(entry["wrapped"]), context=context)
    except InvalidTag:
        if NEXT_WRAP not in entry:
            raise
        secret = cipher.decrypt(base64.b64decode(entry[NEXT_WRAP]), context=context)
    return DataKey(id=key_id, purpose=purpose, secret=secret)


def _damaged(path: Path, error: Exception) -> Misconfigured:
    return Misconfigured(f"{path} is damaged ({type(error).__name__}); restore it from a backup")


def _wrapping(master: bytes) -> DataKey:
    return DataKey(id="master", purpose="master", secret=master)


def _wrap_context(key_id: str, purpose: str) -> bytes:
    return f"portico keyring v1|{key_id}|{purpose}".encode()


def _decode_master(text: str, *, where: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        raw = b""
    if len(raw) != KEY_BYTES:
        raise Misconfigured(f"{where} does not hold a master key (32 bytes in base64)")
    return raw
