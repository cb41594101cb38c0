"""The state that a conversation carries from run to run, below 100 KB, and the set of seen keys."""

from __future__ import annotations

import base64
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field, ValidationError

from portico.contracts.messages import Actor, Contract, Envelope, Message
from portico.contracts.steps import ConversationStart, ToolOutcome
from portico.contracts.tool_steps import ToolRound, ToolWaiting
from portico.ids import dedup_digest

SEEN_LIMIT = 2_000
DIGEST_BYTES = 16
SETTLED_LIMIT = 20
"""So many approvals that are over are known by their code."""


class KeptFile(Contract):
    """A file that a tool run has kept, for the reply to bring along."""

    invocation_id: str
    name: str
    media_type: str = "application/octet-stream"
    size_bytes: int = 0
    url: str = ""


class ToolPlan(Contract):
    """How far a model has come that answers a message with the help of tools."""

    language: str = "en"
    rounds: tuple[ToolRound, ...] = ()
    started: int = 0
    """Tool runs so far; the next one is named by it."""
    faulty: int = 0
    """Rounds in which the model asked for what cannot be called."""
    tokens: int = 0
    until: float = 0
    """No tool is started after that time, in seconds since the epoch."""
    turns_before: int = 0
    """How many turns the conversation had had: where others came between, the answer quotes its message."""
    files: tuple[KeptFile, ...] = ()


class QueuedTurn(Contract):
    """A message that may pass and waits for its turn. With a `plan` it has begun and goes on."""

    turn_id: str
    message: Message
    actor: Actor
    envelope: Envelope
    plan: ToolPlan | None = None


class OpenTool(Contract):
    """A tool run that has not reported yet. `call_id` is the model's, where a model asked for it."""

    invocation_id: str
    tool_name: str
    turn_id: str
    quotes: str = ""
    actor: Actor
    language: str = "en"
    group: bool = False
    envelope: Envelope | None = None
    call_id: str = ""


class OpenPlan(Contract):
    """A turn whose model has asked for tools: its turn is over until all of `waiting` have reported."""

    turn: QueuedTurn
    waiting: tuple[str, ...]


class OpenApproval(Contract):
    """A tool run that waits for a person's yes. `code` is what people type."""

    code: str
    invocation_id: str
    tool_name: str
    expires_at: float
    self_approval: bool = False
    asked_at: float = 0


class SettledApproval(Contract):
    """An approval that is over: `how` is approved, denied or ended."""

    code: str
    invocation_id: str
    how: str


class ConversationState(ConversationStart):
    """Input of every run: what the edge starts with, and what continue-as-new carries over.

    `arrivals` are signals that no lane has handled yet.
    """

    arrivals: tuple[Envelope, ...] = ()
    queue: tuple[QueuedTurn, ...] = ()
    tools: tuple[OpenTool, ...] = ()
    outcomes: tuple[ToolOutcome, ...] = ()
    seen: str = Field("", description="base64 of the last deduplication digests, 16 bytes each, oldest first")
    turns: int = 0
    plans: tuple[OpenPlan, ...] = ()
    asks: tuple[ToolWaiting, ...] = ()
    """Runs that wait for an approval that was not requested yet."""
    approvals: tuple[OpenApproval, ...] = ()
    settled: tuple[SettledApproval, ...] = ()
    route: str = ""
    """The model route that this conversation has pinned by `/model`."""


@dataclass
class Open:
    """What is open in a conversation, while one of its runs lives."""

    queue: deque[QueuedTurn] = field(default_factory=deque)
    tools: dict[str, OpenTool] = field(default_factory=dict)
    plans: dict[str, OpenPlan] = field(default_factory=dict)
    """By turn."""
    approvals: dict[str, OpenApproval] = field(default_factory=dict)
    """By code."""
    settled: deque[SettledApproval] = field(default_factory=lambda: deque(maxlen=SETTLED_LIMIT))
    route: str = ""
    turns: int = 0

    @classmethod
    def of(cls, state: ConversationState) -> Open:
        return cls(
            queue=deque(state.queue),
            tools={tool.invocation_id: tool for tool in state.tools},
            plans={plan.turn.turn_id: plan for plan in state.plans},
            approvals={approval.code: approval for approval in state.approvals},
            settled=deque(state.settled, maxlen=SETTLED_LIMIT),
            route=state.route,
            turns=state.turns,
        )

    def settle(self, approval: OpenApproval, how: str, *, now: float) -> None:
        """Close the approval; later answers get its outcome. The model's time limit is extended by the wait."""
        self.approvals.pop(approval.code, None)
        self._give_back_time(approval, now)
        self.settled.append(
            SettledApproval(code=approval.code, invocation_id=approval.invocation_id, how=how)
        )

    def _give_back_time(self, approval: OpenApproval, now: float) -> None:
        tool = self.tools.get(approval.invocation_id)
        opened = self.plans.get(tool.turn_id) if tool else None
        if opened is None or opened.turn.plan is None or not approval.asked_at:
            return
        until = opened.turn.plan.until + now - approval.asked_at
        plan = opened.turn.plan.model_copy(update={"until": until})
        turn = opened.turn.model_copy(update={"plan": plan})
        self.plans[turn.turn_id] = opened.model_copy(update={"turn": turn})

    def carried(self) -> dict[str, Any]:
        """The fields of the state that are this."""
        return {
            "queue": tuple(self.queue),
            "tools": tuple(self.tools.values()),
            "plans": tuple(self.plans.values()),
            "approvals": tuple(self.approvals.values()),
            "settled": tuple(self.settled),
            "route": self.route,
            "turns": self.turns,
        }


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
