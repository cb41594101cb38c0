"""The state that a conversation carries from run to run, below 100 KB, and the set of seen keys."""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from pydantic import Field, ValidationError

from portico.contracts import Actor, Contract, ConversationRef, Envelope, Message
from portico.ids import dedup_digest
from portico.steps import ToolOutcome

SEEN_LIMIT = 2_000
DIGEST_BYTES = 16


class QueuedTurn(Contract):
    """A message that may pass and waits for its turn."""

    turn_id: str
    message: Message
    actor: Actor
    envelope: Envelope


class OpenTool(Contract):
    """A tool run that has not reported yet."""

    invocation_id: str
    tool_name: str
    turn_id: str
    quotes: str = ""
    actor: Actor
    language: str = "en"
    group: bool = False
    envelope: Envelope | None = None


class ConversationState(Contract):
    """What continue-as-new takes along. `arrivals` are signals that no lane has looked at yet."""

    conversation: ConversationRef
    split_queues: bool = False
    arrivals: tuple[Envelope, ...] = ()
    queue: tuple[QueuedTurn, ...] = ()
    tools: tuple[OpenTool, ...] = ()
    outcomes: tuple[ToolOutcome, ...] = ()
    seen: str = Field("", description="base64 of the last deduplication digests, 16 bytes each, oldest first")
    turns: int = 0


def read_envelope(given: Any) -> Envelope:
    """What cannot be read as an envelope becomes the body of one: `normalize` keeps it as a dead letter.

    The SDK drops a signal that does not fit the type of its handler, so the type is read here.
    """
    try:
        return Envelope.model_validate(given)
    except ValidationError:
        return Envelope(body=[given])


class SeenKeys:
    """The last 2,000 deduplication keys, as 16-byte digests in order of arrival."""

    def __init__(self, digests: Iterable[bytes] = ()) -> None:
        self._digests: OrderedDict[bytes, None] = OrderedDict.fromkeys(digests)

    @classmethod
    def unpack(cls, packed: str) -> SeenKeys:
        raw = base64.b64decode(packed)
        return cls(raw[start : start + DIGEST_BYTES] for start in range(0, len(raw), DIGEST_BYTES))

    def pack(self) -> str:
        return base64.b64encode(b"".join(self._digests)).decode()

    def add(self, keys: Iterable[str]) -> bool:
        """Remember the keys; False where any of them was seen before."""
        digests = [dedup_digest(key) for key in keys]
        known = any(digest in self._digests for digest in digests)
        for digest in digests:
            self._digests[digest] = None
        while len(self._digests) > SEEN_LIMIT:
            self._digests.popitem(last=False)
        return not known
