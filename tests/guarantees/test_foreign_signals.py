"""What others of this machine tell Temporal: it is no message, and stops no conversation."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
import uuid
from contextlib import suppress
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.sdk.v1 import ExternalStorageReference
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.converter import JSONProtoPayloadConverter
from temporalio.service import RPCError

from portico.crypto.keyring import open_keyring
from portico.crypto.sealing import seal, seal_public_key
from portico.ids import conversation_id
from portico.temporal.codec import ENCODING_AES, ENCODING_SEALED
from tests.support import RunningStack

pytestmark = pytest.mark.alone


def test_plain_text_at_temporals_door_is_no_message(stack: RunningStack) -> None:
    """Whoever can reach the port can send a signal; what is not encrypted with our key is not executed."""
    marker = uuid.uuid4().hex
    first = stack.run("send", "What is 17 * 23?", "--conversation", f"door-{marker}", "--json")
    workflow_id = json.loads(first.stdout)["history_url"].rpartition("/")[2]
    forged = {
        "schema": 1,
        "dedup_keys": [f"forged:{marker}"],
        "received_at": 0,
        "turn": marker,
        "body": {"id": marker, "person_id": "person-owner", "text": f"What is 40 * 40? {marker}"},
    }
    asyncio.run(_signal(stack, workflow_id, forged))
    again = stack.run("send", "What is 30 * 30?", "--conversation", f"door-{marker}")
    assert "900" in again.stdout, "the conversation goes on" + again.stdout + again.stderr
    said = json.dumps(_messages(stack, f"door-{marker}"))
    assert "391" in said
    assert marker not in said.replace(f"door-{marker}", "")
    assert "1600" not in said


def test_what_does_not_open_stops_no_conversation(stack: RunningStack) -> None:
    """Who stole an edge may signal conversations: with garbage, under our key's names, or with references."""
    chat = f"garbage-{uuid.uuid4().hex}"
    first = stack.run("send", "What is 17 * 23?", "--conversation", chat, "--json")
    workflow_id = json.loads(first.stdout)["history_url"].rpartition("/")[2]
    asyncio.run(_signal_raw(stack, workflow_id, _garbage(stack)))
    again = stack.run("send", "What is 30 * 30?", "--conversation", chat)
    assert "900" in again.stdout, "the conversation goes on" + again.stdout + again.stderr


def _garbage(stack: RunningStack) -> list[Payload]:
    keyring = open_keyring(stack.home)
    sealing, content = keyring.current("seal").id, keyring.current("payload").id

    def sealed(plain: bytes) -> bytes:
        return seal(seal_public_key(keyring)[1], plain, context=b"portico payload v1|" + sealing.encode())

    def encrypted(encoding: bytes, key_id: str, data: bytes) -> Payload:
        return Payload(metadata={"encoding": encoding, "key-id": key_id.encode()}, data=data)

    strange = Payload(metadata={"encoding": b"binary/strange"}, data=b"x").SerializeToString()
    nothing = {"bucket": "portico", "key": "gone", "hash_algorithm": "sha256", "hash_value": "0"}
    references = (
        ExternalStorageReference(driver_name=name, claim_data=claim)
        for name, claim in (("aws.s3driver", nothing), ("aws.s3driver", {}), ("other", nothing))
    )
    return [
        *(encrypted(ENCODING_AES, key_id, b"garbage" * 9) for key_id in (content, sealing, "unknown")),
        *(encrypted(ENCODING_SEALED, key_id, b"garbage" * 9) for key_id in (sealing, content, "unknown")),
        *(encrypted(ENCODING_SEALED, sealing, sealed(plain)) for plain in (b"\xff\xff no payload", strange)),
        *(JSONProtoPayloadConverter().to_payload(reference) or Payload() for reference in references),
        Payload(metadata={"encoding": b"json/protobuf", "messageType": b"temporal.api.sdk.v1.Nothing"}),
    ]


async def _signal_raw(stack: RunningStack, workflow_id: str, payloads: list[Payload]) -> None:
    client = await Client.connect(stack.address("temporal"))
    for payload in payloads:
        await client.workflow_service.signal_workflow_execution(
            SignalWorkflowExecutionRequest(
                namespace="default",
                workflow_execution=WorkflowExecution(workflow_id=workflow_id),
                signal_name="receive",
                input=Payloads(payloads=[payload]),
            )
        )


def test_plain_text_starts_no_conversation(stack: RunningStack) -> None:
    secret = open_keyring(stack.home).current("id").secret
    chat = f"forged-{uuid.uuid4().hex}"
    workflow_id = conversation_id(secret, channel="web", account="default", chat=chat)
    forged = {"dedup_keys": ["x"], "received_at": 0, "turn": "t", "body": {"text": "What is 40 * 40?"}}
    asyncio.run(_signal(stack, workflow_id, forged, start=chat))
    assert "391" in stack.run("send", "What is 17 * 23?").stdout
    history = asyncio.run(_history(stack, workflow_id))
    assert not any(kind.startswith("EVENT_TYPE_ACTIVITY") for kind in history), history


async def _signal(stack: RunningStack, workflow_id: str, forged: Any, *, start: str = "") -> None:
    client = await Client.connect(stack.address("temporal"))
    if not start:
        await client.get_workflow_handle(workflow_id).signal("receive", forged)
        return
    reference = {"id": workflow_id, "channel": "web", "account": "default", "chat": start}
    await client.start_workflow(
        "Conversation",
        {"conversation": reference, "split_queues": False},
        id=workflow_id,
        task_queue="portico",
        start_signal="receive",
        start_signal_args=[forged],
    )


async def _history(stack: RunningStack, workflow_id: str) -> list[str]:
    from temporalio.api.enums.v1 import EventType

    client = await Client.connect(stack.address("temporal"))
    handle = client.get_workflow_handle(workflow_id)
    try:
        return [EventType.Name(event.event_type) async for event in handle.fetch_history_events()]
    finally:
        with suppress(RPCError):
            await handle.terminate("the test that forged it is over")


def _messages(stack: RunningStack, conversation: str) -> Any:
    request = urllib.request.Request(
        f"{stack.url}/v1/conversations/{conversation}/messages",
        headers={"Authorization": f"Bearer {stack.home.cli_key.read_text().strip()}"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)
