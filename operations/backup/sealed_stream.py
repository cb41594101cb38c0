"""A stream of bytes in AES-256-GCM pieces: what was cut, changed, moved or wrongly keyed does not open.

Each archive has a random key for its pieces; the header holds it, wrapped by the master key or a passphrase.
The nonce of a piece is its number and whether it is the last one, so that a stream cannot end early unseen. The
head is readable (what made it, when, how it is locked) and part of what every piece authenticates.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from portico.crypto.keyring import KEY_BYTES, NONCE_BYTES
from portico.errors import Misconfigured

MAGIC = b"portico backup\n"
FORMAT = 1
PIECE_BYTES = 1024 * 1024
TAG_BYTES = 16
LONGEST_HEAD = 64 * 1024
SCRYPT_COST = 2**17
"""128 MiB and about half a second a guess."""


class BadArchive(Misconfigured):
    """The message says what is wrong with it; nothing of this machine has been changed."""


@dataclass(frozen=True)
class Lock:
    """What opens an archive: the master key itself, or a passphrase."""

    by: Literal["master", "passphrase"]
    secret: bytes

    def key(self, salt: bytes) -> bytes:
        if self.by == "passphrase":
            return Scrypt(salt=salt, length=KEY_BYTES, n=SCRYPT_COST, r=8, p=1).derive(self.secret)
        return HKDF(SHA256(), length=KEY_BYTES, salt=salt, info=b"portico backup v1").derive(self.secret)


@dataclass(frozen=True)
class StreamHeader:
    """What anybody may know of an archive. `schema`: the newest migration of the database in it; `temporal`: the
    version of the server whose histories are in it."""

    kind: Literal["embedded", "compose"]
    version: str
    schema: int
    made_at: float
    locked_by: Literal["master", "passphrase"]
    temporal: str = ""
    format: int = FORMAT


class SealedWriter:
    """Takes plain bytes, writes the sealed stream. Only `finish` makes it whole."""

    def __init__(self, out: IO[bytes], head: StreamHeader, lock: Lock) -> None:
        self._out = out
        self._pending = bytearray()
        self._number = 0
        secret, salt = os.urandom(KEY_BYTES), os.urandom(16)
        facts: dict[str, Any] = asdict(head) | {"salt": _text(salt)}
        nonce = os.urandom(NONCE_BYTES)
        wrapped = nonce + AESGCM(lock.key(salt)).encrypt(nonce, secret, _canonical(facts))
        told = json.dumps(facts | {"key": _text(wrapped)}, sort_keys=True).encode()
        front = MAGIC + len(told).to_bytes(4) + told
        self._out.write(front)
        self._cipher = AESGCM(secret)
        self._context = hashlib.sha256(front).digest()

    def write(self, data: bytes) -> int:
        self._pending += data
        while len(self._pending) > PIECE_BYTES:  # the last piece is never empty, unless all of it is
            self._seal(bytes(self._pending[:PIECE_BYTES]), last=False)
            del self._pending[:PIECE_BYTES]
        return len(data)

    def finish(self) -> None:
        self._seal(bytes(self._pending), last=True)
        self._pending.clear()

    def _seal(self, piece: bytes, *, last: bool) -> None:
        self._out.write(self._cipher.encrypt(_nonce(self._number, last=last), piece, self._context))
        self._number += 1


def read_head(source: IO[bytes]) -> StreamHeader:
    """What an archive says of itself, before anything proves it. Raises `BadArchive`."""
    return _head(_front(source)[1])


def opened(source: IO[bytes], lock: Lock) -> Iterator[bytes]:
    """The plain pieces, each proven before it is given. Raises `BadArchive`."""
    front, facts = _front(source)
    _head(facts)
    cipher, context = AESGCM(_content_key(facts, lock)), hashlib.sha256(front).digest()
    number, piece = 0, source.read(PIECE_BYTES + TAG_BYTES)
    while True:
        following = source.read(PIECE_BYTES + TAG_BYTES)
        try:
            yield cipher.decrypt(_nonce(number, last=not following), piece, context)
        except InvalidTag:
            raise BadArchive(
                f"the archive is damaged or cut (after {number} MiB of it); take another copy of it"
            ) from None
        if not following:
            return
        number, piece = number + 1, following


def _front(source: IO[bytes]) -> tuple[bytes, dict[str, Any]]:
    start = source.read(len(MAGIC) + 4)
    if not start.startswith(MAGIC) or len(start) < len(MAGIC) + 4:
        raise BadArchive("this is no archive of `portico backup`")
    length = int.from_bytes(start[len(MAGIC) :])
    told = source.read(length) if length <= LONGEST_HEAD else b""
    try:
        facts = json.loads(told)
        if len(told) != length or not isinstance(facts, dict):
            raise ValueError
    except ValueError:
        raise BadArchive("the archive's head is damaged; take another copy of it") from None
    return start + told, facts


def _head(facts: dict[str, Any]) -> StreamHeader:
    if not isinstance(facts.get("format"), int):
        raise BadArchive("the archive's head is damaged; take another copy of it")
    if facts["format"] > FORMAT:
        raise BadArchive(
            f"the archive was made by a newer Portico ({facts.get('version')}); restore it with that version"
        )
    wanted: dict[str, tuple[type, ...]] = {"schema": (int,), "made_at": (int, float)}
    named: dict[str, Any] = {name: facts.get(name) for name in StreamHeader.__dataclass_fields__}
    if not all(isinstance(value, wanted.get(name, (str, int))) for name, value in named.items()):
        raise BadArchive("the archive's head is damaged; take another copy of it")
    return StreamHeader(**named)


def _content_key(facts: dict[str, Any], lock: Lock) -> bytes:
    if facts["locked_by"] != lock.by:
        needed = "a passphrase: give --passphrase" if lock.by == "master" else "the master key, no passphrase"
        raise BadArchive(f"the archive is locked by {needed}")
    bare = {name: value for name, value in facts.items() if name != "key"}
    try:
        salt, wrapped = base64.b64decode(facts["salt"]), base64.b64decode(facts["key"])
        cipher = AESGCM(lock.key(salt))
        return cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _canonical(bare))
    except (InvalidTag, KeyError, ValueError, TypeError):
        what = "passphrase" if lock.by == "passphrase" else "master key"
        raise BadArchive(f"the {what} does not open this archive, or its head was changed") from None


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(NONCE_BYTES - 1) + bytes([last])


def _canonical(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
