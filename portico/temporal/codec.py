"""Encryption of everything that Temporal stores: payloads, failures, memos, headers, summaries.

Two encodings, distinguished by metadata: `aes256gcm` (content key) and `sealed` (to the core's public key, for an
edge that can write but not read). A payload that is not encrypted is refused, so that whoever reaches Temporal's
port cannot inject plain text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidTag
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    ExternalStorage,
    PayloadCodec,
    SerializationContext,
)

from portico.crypto.keyring import Keyring
from portico.crypto.sealing import seal, unseal

ENCODING_AES = b"binary/portico-aes256gcm"
ENCODING_SEALED = b"binary/portico-sealed"
REFUSED_MARKER = b'{"refused": "a payload that this Portico did not encrypt"}'
_CONTEXT = b"portico payload v1|"


class SharedPayloadConverter(PydanticPayloadConverter):
    """One converter for the process.

    The SDK makes a new one for each activity and activation, and with it an empty cache of type adapters: an
    eighth of the worker's CPU.
    """

    _shared: SharedPayloadConverter | None = None

    def __new__(cls) -> SharedPayloadConverter:
        if cls._shared is None:
            cls._shared = super().__new__(cls)
            PydanticPayloadConverter.__init__(cls._shared)
        return cls._shared

    def __init__(self) -> None:
        """Initialized by `__new__`, once."""


class RefusedPayload(ValueError):
    """Not encrypted by a key of this Portico."""


class EncryptionCodec(PayloadCodec):
    """AES-256-GCM over whole payloads; the key id is part of what is authenticated."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self.encrypt(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self.decrypt(payload) for payload in payloads]

    def encrypt(self, payload: Payload) -> Payload:
        key = self._keyring.current("payload")
        data = key.encrypt(payload.SerializeToString(), context=_CONTEXT + key.id.encode())
        return Payload(metadata={"encoding": ENCODING_AES, "key-id": key.id.encode()}, data=data)

    def decrypt(self, payload: Payload) -> Payload:
        """Raises `RefusedPayload`; the message names the key, never the content."""
        encoding = payload.metadata.get("encoding", b"")
        key_id = payload.metadata.get("key-id", b"").decode(errors="replace")
        if encoding not in (ENCODING_AES, ENCODING_SEALED):
            raise RefusedPayload("a payload is not encrypted")
        try:
            key = self._keyring.by_id(key_id)
            open_it = key.decrypt if encoding == ENCODING_AES and key.purpose == "payload" else None
            context = _CONTEXT + key_id.encode()
            if open_it is not None:
                plain = open_it(payload.data, context=context)
            elif encoding == ENCODING_SEALED and key.purpose == "seal":
                plain = unseal(key, payload.data, context=context)
            else:
                raise RefusedPayload(f"key {key_id} is not for this encoding")
            return Payload.FromString(plain)
        except (KeyError, InvalidTag, ValueError, DecodeError) as error:
            raise RefusedPayload(f"a payload does not open with key {key_id!r}") from error


class WorkerCodec(EncryptionCodec):
    """For workers: a payload that is not ours becomes a marker without content instead of an error.

    An error here would fail the workflow task for ever, so that one signal of any local process, or from a stolen
    edge, would stop a conversation; the marker is an envelope without a body, which ends as a dead letter. A worker
    with the wrong keys loses nothing by it: the marker is no conversation's state, so its tasks fail until it has
    the right ones.
    """

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._opened_or_marker(payload) for payload in payloads]

    def _opened_or_marker(self, payload: Payload) -> Payload:
        try:
            return self.decrypt(payload)
        except RefusedPayload:
            return Payload(metadata={"encoding": b"json/plain"}, data=REFUSED_MARKER)


class SealingCodec(PayloadCodec):
    """Write-only: seals to the core's public key. It cannot read what it wrote."""

    def __init__(self, key_id: str, public_key: bytes) -> None:
        self._key_id = key_id
        self._public_key = public_key

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._seal(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        raise RefusedPayload("this process holds no content key")

    def _seal(self, payload: Payload) -> Payload:
        context = _CONTEXT + self._key_id.encode()
        data = seal(self._public_key, payload.SerializeToString(), context=context)
        return Payload(metadata={"encoding": ENCODING_SEALED, "key-id": self._key_id.encode()}, data=data)


@dataclass(frozen=True)
class ContextFreeDataConverter(DataConverter):
    """None of our converters looks at the context of a payload, so none is copied for each command."""

    def with_context(self, context: SerializationContext) -> Self:
        return self


def data_converter(codec: PayloadCodec, *, external: ExternalStorage | None = None) -> DataConverter:
    """Pydantic models in, ciphertext out; failures' messages and stacks are encrypted as well."""
    return ContextFreeDataConverter(
        payload_converter_class=SharedPayloadConverter,
        payload_codec=codec,
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
        external_storage=external,
    )
