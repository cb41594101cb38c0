"""Proves a started stack: one message goes in at the edge, through every part, and its answer comes back."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from operations.embedded.context import StackContext
from operations.probes import NoAnswer, http
from portico.contracts import names
from portico.errors import Unavailable

QUESTION = "What is 17 * 23?"
CONVERSATION = "self-check"
ANSWER_WITHIN_S = 30
RECORDED_WITHIN_S = 3.0
MICROSECOND_DIGITS = 26


@dataclass(frozen=True)
class SelfCheck:
    """The answer, how long it took from outside, and the milliseconds of each step as recorded."""

    answer: str
    took_ms: float
    steps: tuple[tuple[str, float], ...]


async def check(context: StackContext) -> SelfCheck:
    """Raises `Unavailable` where no answer comes."""
    began = time.monotonic()
    body = {"id": f"check-{uuid.uuid4().hex}", "conversation": CONVERSATION, "text": QUESTION}
    answer = await ask_edge(context, f"/v1/messages?wait_s={ANSWER_WITHIN_S}", body)
    took_ms = (time.monotonic() - began) * 1000
    if not answer.get("reply"):
        raise Unavailable("the answer", f"nothing came within {ANSWER_WITHIN_S} s")
    texts = [part.get("text", "") for part in answer["reply"]["parts"]]
    workflow = answer["history_url"].rpartition("/")[2]
    return SelfCheck("\n".join(texts), took_ms, await _steps_to_the_delivery(context, workflow))


async def ask_edge(context: StackContext, path: str, body: Any) -> dict[str, Any]:
    """POST as the owner of this home. Raises `Unavailable`."""
    try:
        headers = {"Authorization": f"Bearer {context.home.cli_key.read_text().strip()}"}
        status, content = await http(
            context.address("api"),
            path,
            method="POST",
            headers=headers,
            body=body,
            tls=context.tls,
            timeout_s=ANSWER_WITHIN_S + 5,
        )
        answer: dict[str, Any] = json.loads(content)
    except (NoAnswer, OSError, ValueError) as error:
        raise Unavailable("the edge", str(error)) from error
    if status >= 300:
        raise Unavailable("the edge", f"{path} answered {status}: {answer.get('title', '')}")
    return answer


async def _steps_to_the_delivery(context: StackContext, workflow: str) -> tuple[tuple[str, float], ...]:
    """The reply is seen a moment before its delivery is in the history."""
    end = time.monotonic() + RECORDED_WITHIN_S
    while True:
        steps = await _steps(context, workflow)
        recorded = any(name == "deliver" for name, _ in steps)
        if recorded or context.settings.temporal.address or time.monotonic() > end:
            return steps
        await asyncio.sleep(0.05)


async def _steps(context: StackContext, workflow: str) -> tuple[tuple[str, float], ...]:
    """What was done since the last message came, each with the time since the step before it."""
    if context.settings.temporal.address:
        return ()  # only the embedded server's HTTP address is known here
    path = f"/api/v1/namespaces/{context.settings.temporal.namespace}/workflows/{workflow}/history-reverse"
    try:
        _, content = await http(context.address("temporal-http"), path)
        events = json.loads(content)["history"]["events"]
    except (NoAnswer, ValueError, KeyError):
        return ()  # the answer came; its story can be read in the history
    moments = sorted(_moments(events), key=lambda moment: moment[1])
    return tuple((name, round((at - before) * 1000, 1)) for (_, before), (name, at) in pairwise(moments))


def _moments(newest_first: list[dict[str, Any]]) -> Iterator[tuple[str, float]]:
    """Name and time of each completed step, back to the signal that brought the message."""
    activities = _scheduled(newest_first)
    for event in newest_first:
        if marker := event.get("markerRecordedEventAttributes"):
            for data in marker["details"].get("data", []):
                done = data["complete_time"]
                yield data["activity_type"], done["seconds"] + done.get("nanos", 0) / 1e9
        elif done := event.get("activityTaskCompletedEventAttributes"):
            yield activities[done["scheduledEventId"]], _time(event)
        elif event.get("childWorkflowExecutionCompletedEventAttributes"):
            yield "tool", _time(event)
        elif event.get("workflowExecutionSignaledEventAttributes", {}).get("signalName") == names.RECEIVE:
            yield "receive", _time(event)
            return


def _scheduled(events: list[dict[str, Any]]) -> dict[str, str]:
    found = {}
    for event in events:
        if scheduled := event.get("activityTaskScheduledEventAttributes"):
            found[event["eventId"]] = scheduled["activityType"]["name"]
    return found


def _time(event: dict[str, Any]) -> float:
    digits = event["eventTime"].rstrip("Z")[:MICROSECOND_DIGITS]
    return datetime.fromisoformat(f"{digits}+00:00").timestamp()
