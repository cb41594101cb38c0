"""Keys at rest: one master key wraps the random data keys; key ids travel with the ciphertext.

The master key comes from `PORTICO_MASTER_KEY` or from a 0600 file made at first start. Rotation re-wraps the
keyring; the id key is made once and never changes (else every conversation would get another workflow id).
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from portico.errors import Misconfigured
from portico.private_files import write_private
from portico.settings.home import Home
from portico.settings.secret_files import read_secret_file

KEY_BYTES = 32
NONCE_BYTES = 12
PURPOSES = ("payload", "blob", "database", "id", "index", "live", "seal")


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


class Keyring:
    """The unwrapped data keys of one Portico. The newest of a purpose encrypts, all of them decrypt."""

    def __init__(self, keys: tuple[DataKey, ...]) -> None:
        self._by_id = {key.id: key for key in keys}
        self._current = {key.purpose: key for key in keys}

    def current(self, purpose: str) -> DataKey:
        return self._current[purpose]

    def by_id(self, key_id: str) -> DataKey:
        """Raises KeyError for a key that this Portico never had."""
        return self._by_id[key_id]

    def keys(self) -> tuple[DataKey, ...]:
        return tuple(self._by_id.values())


def open_keyring(home: Home, master: bytes | None = None) -> Keyring:
    """The keyring of this home, made at first start. Raises `WrongMasterKey` where it does not open."""
    master = master or load_master_key(home)
    if not home.keyring.exists():
        keys = tuple(_new_key(purpose) for purpose in PURPOSES)
        write_private(home.keyring, _wrapped(keys, master), exclusive=True)
    try:
        return Keyring(_unwrapped(home.keyring, master))
    except WrongMasterKey:
        return Keyring(_after_a_stopped_rotation(home))


def _after_a_stopped_rotation(home: Home) -> tuple[DataKey, ...]:
    """The keys, where a rotation stopped after it wrapped the keyring and before the new key was in place."""
    following = _next_master_key(home)
    try:
        keys = _unwrapped(home.keyring, _decode_master(following.read_text().strip(), where=str(following)))
    except FileNotFoundError:
        raise WrongMasterKey(home.keyring) from None
    following.replace(home.master_key)
    return keys


def _next_master_key(home: Home) -> Path:
    return home.master_key.with_suffix(".next")


def load_master_key(home: Home) -> bytes:
    """32 bytes from the environment or the 0600 file, which is made at the very first start."""
    if (given := master_key_from_environment()) is not None:
        return given
    wrapped_before = home.keyring.exists()  # asked first: another process of this first start makes both
    if not home.master_key.exists():
        if wrapped_before:
            raise Misconfigured(
                f"{home.master_key} is missing, but {home.keyring} was encrypted with it; "
                "put the file back or set PORTICO_MASTER_KEY"
            )
        write_private(home.master_key, base64.b64encode(os.urandom(KEY_BYTES)), exclusive=True)
    return _decode_master(home.master_key.read_text().strip(), where=str(home.master_key))


def master_key_from_environment() -> bytes | None:
    given = os.environ.get("PORTICO_MASTER_KEY")  # noqa: TID251 - reserved name, never a setting
    if not given:
        return None
    if given.startswith("file:"):
        given = read_secret_file(given.removeprefix("file:"), wanted_by="PORTICO_MASTER_KEY")
    return _decode_master(given, where="PORTICO_MASTER_KEY")


def read_master_key(path: Path) -> bytes:
    """Of a file; none is made. Raises `Misconfigured`."""
    return _decode_master(read_secret_file(path, wanted_by="the master key"), where=str(path))


def rotate_master_key(home: Home, *, new: bytes) -> None:
    """Wrap the same data keys with another master key. Content stays as it is.

    The new key is written beside the old one first: wherever this is stopped, one of them opens the keyring.
    """
    keys = open_keyring(home).keys()
    in_file = not os.environ.get("PORTICO_MASTER_KEY")  # noqa: TID251 - reserved name, never a setting
    if in_file:
        write_private(_next_master_key(home), base64.b64encode(new))
    write_private(home.keyring, _wrapped(keys, new))
    if in_file:
        _next_master_key(home).replace(home.master_key)


def add_data_key(home: Home, purpose: str) -> None:
    """A new current key for payloads, blobs or live updates; older ones go on decrypting."""
    if purpose not in ("payload", "blob", "live"):
        raise Misconfigured(f"the {purpose} key is made once and never rotated")
    keys = open_keyring(home).keys()
    write_private(home.keyring, _wrapped((*keys, _new_key(purpose)), load_master_key(home)))


def _new_key(purpose: str) -> DataKey:
    return DataKey(id=f"{purpose[0]}{secrets.token_hex(6)}", purpose=purpose, secret=os.urandom(KEY_BYTES))


def _wrapped(keys: tuple[DataKey, ...], master: bytes) -> bytes:
    wrapping = DataKey(id="master", purpose="master", secret=master)
    entries = [
        {
            "id": key.id,
            "purpose": key.purpose,
            "wrapped_at": int(time.time()),
            "wrapped": base64.b64encode(
                wrapping.encrypt(key.secret, context=_wrap_context(key.id, key.purpose))
            ).decode(),
        }
        for key in keys
    ]
    return json.dumps({"version": 1, "keys": entries}, indent=1).encode()


def _unwrapped(path: Path, master: bytes) -> tuple[DataKey, ...]:
    wrapping = DataKey(id="master", purpose="master", secret=master)
    try:
        entries = json.loads(path.read_bytes())["keys"]
        return tuple(_unwrap(entry, wrapping) for entry in entries)
    except InvalidTag:
        raise WrongMasterKey(path) from None
    except (ValueError, KeyError, TypeError) as error:
        raise Misconfigured(
            f"{path} is damaged ({type(error).__name__}); restore it from a backup"
        ) from error


def _unwrap(entry: dict[str, str], wrapping: DataKey) -> DataKey:
    secret = wrapping.decrypt(
        base64.b64decode(entry["wrapped"]), context=_wrap_context(entry["id"], entry["purpose"])
    )
    return DataKey(id=entry["id"], purpose=entry["purpose"], secret=secret)


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
