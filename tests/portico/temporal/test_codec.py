from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure

from portico.contracts.messages import TextPart
from portico.contracts.steps import ToolRunInput
from portico.crypto.keyring import Keyring, open_keyring
from portico.crypto.sealing import seal, seal_public_key
from portico.settings.home import Home
from portico.temporal.codec import EncryptionCodec, RefusedPayload, SealingCodec, WorkerCodec, data_converter
from workflows.state import ConversationState

PLAIN = Payload(metadata={"encoding": b"json/plain"}, data=b'"a-marker-that-nobody-may-read"')


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return open_keyring(Home(tmp_path_factory.mktemp("home")), bytes(32))


@pytest.fixture(scope="module")
def codec(keyring: Keyring) -> EncryptionCodec:
    return EncryptionCodec(keyring)


def changed(payload: Payload, *, data: bytes | None = None, **metadata: bytes) -> Payload:
    copy = Payload.FromString(payload.SerializeToString())
    if data is not None:
        copy.data = data
    for name, value in metadata.items():
        copy.metadata[name.replace("_", "-")] = value
    return copy


async def test_a_payload_that_is_not_encrypted_is_refused(codec: EncryptionCodec) -> None:
    for wrong in (PLAIN, Payload(), Payload(metadata={"encoding": b"binary/null"})):
        with pytest.raises(RefusedPayload, match="not encrypted"):
            await codec.decode([wrong])


async def test_a_worker_sees_a_marker_without_content_in_place_of_what_is_not_ours(keyring: Keyring) -> None:
    (marker,) = await WorkerCodec(keyring).decode([PLAIN])
    assert marker.metadata["encoding"] == b"json/plain"
    assert b"a-marker" not in marker.data
    (sealed,) = await EncryptionCodec(keyring).encode([PLAIN])
    assert await WorkerCodec(keyring).decode([sealed]) == [PLAIN]


def test_a_payload_that_was_changed_is_refused_without_its_content(
    codec: EncryptionCodec, keyring: Keyring
) -> None:
    good = codec.encrypt(PLAIN)
    other = keyring.current("blob").id.encode()
    sealing = keyring.current("seal").id.encode()
    wrong = (
        changed(good, data=good.data[:-1]),
        changed(good, data=b""),
        changed(good, data=good.data[:5]),
        changed(good, key_id=b""),
        changed(good, key_id=b"\xff\xfe"),
        changed(good, key_id=other),
        changed(good, key_id=sealing),
        changed(good, encoding=b"binary/portico-sealed"),
        changed(good, encoding=b"binary/portico-sealed", key_id=sealing),
        changed(good, encoding=b"binary/portico-sealed", key_id=sealing, data=b"x"),
    )
    for payload in wrong:
        with pytest.raises(RefusedPayload) as caught:
            codec.decrypt(payload)
        assert "marker" not in str(caught.value)


def test_another_porticos_payload_is_refused(codec: EncryptionCodec, tmp_path: Path) -> None:
    stranger = EncryptionCodec(open_keyring(Home(tmp_path), bytes(32)))
    with pytest.raises(RefusedPayload):
        codec.decrypt(stranger.encrypt(PLAIN))


async def test_who_only_seals_cannot_read(keyring: Keyring, codec: EncryptionCodec) -> None:
    edge = SealingCodec(*seal_public_key(keyring))
    [sealed] = await edge.encode([PLAIN])
    assert b"marker" not in sealed.SerializeToString()
    with pytest.raises(RefusedPayload):
        await edge.decode([sealed])
    assert await codec.decode([sealed]) == [PLAIN]


@given(data=st.binary(max_size=500), name=st.text(max_size=10), value=st.binary(max_size=20))
def test_any_payload_comes_back_whole(codec: EncryptionCodec, data: bytes, name: str, value: bytes) -> None:
    payload = Payload(metadata={name: value}, data=data)
    assert codec.decrypt(codec.encrypt(payload)) == payload


async def test_failures_carry_no_readable_message(codec: EncryptionCodec) -> None:
    converter = data_converter(codec)
    failure = Failure()
    await converter.encode_failure(_raised("a-marker-that-nobody-may-read"), failure)
    assert b"marker" not in failure.SerializeToString()
    assert "a-marker-that-nobody-may-read" in str(await converter.decode_failure(failure))


def _raised(message: str) -> Exception:
    try:
        raise RuntimeError(message)
    except RuntimeError as error:
        return error


async def test_contracts_travel_encrypted(codec: EncryptionCodec) -> None:
    converter = data_converter(codec)
    payloads = await converter.encode([TextPart(text="a-marker-that-nobody-may-read")])
    assert all(b"marker" not in payload.SerializeToString() for payload in payloads)
    assert await converter.decode(payloads, [TextPart]) == [TextPart(text="a-marker-that-nobody-may-read")]


async def test_a_worker_sees_a_marker_too_where_nothing_opens(keyring: Keyring) -> None:
    worker, good = WorkerCodec(keyring), EncryptionCodec(keyring).encrypt(PLAIN)
    sealing = keyring.current("seal").id.encode()
    key_id, public = seal_public_key(keyring)
    nonsense = seal(public, b"\xff\xff", context=b"portico payload v1|" + key_id.encode())
    for wrong in (
        changed(good, data=b"garbage" * 9),
        changed(good, key_id=b"unknown"),
        changed(good, key_id=sealing),
        Payload(metadata={"encoding": b"binary/portico-sealed", "key-id": sealing}, data=nonsense),
    ):
        (marker,) = await worker.decode([wrong])
        assert b"refused" in marker.data


async def test_a_marker_is_no_state_of_a_conversation(keyring: Keyring) -> None:
    """So a worker with the wrong keys waits, and ends nothing."""
    converter = data_converter(WorkerCodec(keyring))
    for kind in (ConversationState, ToolRunInput):
        with pytest.raises((RuntimeError, ValueError)):
            await converter.decode([PLAIN], [kind])
