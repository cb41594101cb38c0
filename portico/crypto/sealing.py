"""Sealing: encrypt to a public key, for an edge that can write but not read."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from portico.crypto.keyring import KEY_BYTES, DataKey, Keyring


def seal_public_key(keyring: Keyring) -> tuple[str, bytes]:
    """Key id and the 32 raw bytes that an edge needs to seal."""
    key = keyring.current("seal")
    return key.id, X25519PrivateKey.from_private_bytes(key.secret).public_key().public_bytes_raw()


def seal(public_key: bytes, plain: bytes, *, context: bytes) -> bytes:
    """Ephemeral X25519 public key (32 bytes) + nonce + AES-256-GCM."""
    ephemeral = X25519PrivateKey.generate()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public_key))
    public = ephemeral.public_key().public_bytes_raw()
    return public + _sealing_key(shared, public).encrypt(plain, context=context)


def unseal(key: DataKey, sealed: bytes, *, context: bytes) -> bytes:
    public, rest = sealed[:32], sealed[32:]
    shared = X25519PrivateKey.from_private_bytes(key.secret).exchange(
        X25519PublicKey.from_public_bytes(public)
    )
    return _sealing_key(shared, public).decrypt(rest, context=context)


def _sealing_key(shared: bytes, ephemeral_public: bytes) -> DataKey:
    derived = HKDF(SHA256(), length=KEY_BYTES, salt=ephemeral_public, info=b"portico sealed v1").derive(
        shared
    )
    return DataKey(id="", purpose="seal", secret=derived)
