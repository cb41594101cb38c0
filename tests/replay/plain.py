"""Saved histories in plain JSON: what an encrypted history holds, readable in a review and free of any key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import History
from temporalio.client import WorkflowHistory
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes

from portico.temporal.codec import ENCODING_AES, EncryptionCodec, SharedPayloadConverter

HISTORIES = Path(__file__).parent / "histories"
NOBODY = "tests"


def converter() -> DataConverter:
    """Portico's converter without its codec."""
    return DataConverter(
        payload_converter_class=SharedPayloadConverter,
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


def saved() -> dict[str, WorkflowHistory]:
    """Every saved history by its name."""
    return {
        path.stem: WorkflowHistory.from_json(path.stem, path.read_text())
        for path in sorted(HISTORIES.glob("*.json"))
    }


def save(name: str, history: WorkflowHistory, codec: EncryptionCodec) -> None:
    """Decrypted, and without names of the machine and folders that it ran in."""
    plain = History(events=history.events)
    for message in _messages(plain):
        if isinstance(message, Payload) and message.metadata.get("encoding") == ENCODING_AES:
            message.CopyFrom(_without_stack(codec.decrypt(message)))
        elif "identity" in message.DESCRIPTOR.fields_by_name and message.identity:  # type: ignore[attr-defined]
            message.identity = NOBODY  # type: ignore[attr-defined]
    HISTORIES.mkdir(exist_ok=True)
    text = WorkflowHistory(name, plain.events).to_json()
    (HISTORIES / f"{name}.json").write_text(text + "\n")


def _without_stack(payload: Payload) -> Payload:
    """A failure's stack trace names files of the machine."""
    if b'"stack_trace"' in payload.data:
        content = json.loads(payload.data)
        payload.data = json.dumps(content | {"stack_trace": ""}).encode()
    return payload


def _messages(message: Message) -> Iterator[Message]:
    """The message and everything in it, inner ones first."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for inner in _inner(field, value):
            yield from _messages(inner)
    yield message


def _inner(field: Any, value: Any) -> list[Message]:
    if field.message_type.GetOptions().map_entry:
        return [one for one in value.values() if isinstance(one, Message)]
    return list(value) if isinstance(value, list) or hasattr(value, "append") else [value]
