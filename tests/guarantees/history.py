"""Workflow histories, read as the owner reads them: with the keys of the tested home."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from portico.crypto.keyring import open_keyring
from portico.settings.connections import connect_to
from portico.temporal.client import connect
from tests.guarantees.gateway import Gateway

LOCAL_ACTIVITY = "core_local_activity"


@dataclass(frozen=True)
class Event:
    """One event that carries content. `name` is the activity's; `content` its JSON payloads, decrypted."""

    number: int
    kind: str  # asked (an activity scheduled) | answered (its result recorded) | other
    name: str
    content: list[Any]


async def temporal(gateway: Gateway) -> Client:
    stack = gateway.stack
    return await connect(connect_to(stack.settings, stack.home), open_keyring(stack.home))


async def story(client: Client, workflow_id: str, *, run_id: str | None = None) -> list[Event]:
    """Activities of one run, asked and answered, in the order in which the history has them."""
    history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
    names: dict[int, str] = {}
    found = []
    for event in history.events:
        told = await _told(client, event, names)
        if told is not None:
            found.append(told)
    return found


async def all_runs(client: Client) -> AsyncIterator[tuple[str, str]]:
    async for one in client.list_workflows():
        yield one.id, str(one.run_id)


async def _told(client: Client, event: HistoryEvent, names: dict[int, str]) -> Event | None:
    if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
        asked = event.activity_task_scheduled_event_attributes
        names[event.event_id] = asked.activity_type.name
        content = await _decoded(client, asked.input.payloads)
        return Event(event.event_id, "asked", asked.activity_type.name, content)
    if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
        done = event.activity_task_completed_event_attributes
        content = await _decoded(client, done.result.payloads)
        return Event(event.event_id, "answered", names[done.scheduled_event_id], content)
    if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED:
        marker = event.marker_recorded_event_attributes
        if marker.marker_name != LOCAL_ACTIVITY:
            return None
        if "result" not in marker.details:
            return None  # it failed
        # Which activity it was is the SDK's own note; what it gave is a payload like any other.
        note = json.loads(marker.details["data"].payloads[0].data)
        content = await _decoded(client, marker.details["result"].payloads)
        return Event(event.event_id, "answered", str(note["activity_type"]), content)
    return None


async def _decoded(client: Client, payloads: Any) -> list[Any]:
    codec = client.data_converter.payload_codec
    assert codec is not None
    stored: list[Payload] = list(payloads)
    plain = await codec.decode(stored)
    return [json.loads(one.data) if one.data else None for one in plain]
