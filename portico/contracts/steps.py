"""What goes into each activity and signal, and what comes out: one object each way.

Read tolerantly for ever, like the contracts they are built from.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from portico.contracts.messages import (
    Actor,
    Attachment,
    Contract,
    ConversationRef,
    Decision,
    Envelope,
    ExecutionResult,
    Message,
    Reply,
    ToolInvocation,
    Understanding,
)
from portico.contracts.tool_steps import ToolOffer, ToolRequest, ToolRound, ToolWaiting

# --- arrival ---------------------------------------------------------------------------------------


class NormalizeInput(Contract):
    conversation: ConversationRef
    turn_id: str
    envelope: Envelope


class Normalized(Contract):
    """Exactly one of: a message, a repeat of an event that has its turn, an event that needs none."""

    message: Message | None = None
    repeat: bool = False
    ignored: str = ""


class InboundQuestion(Contract):
    conversation: ConversationRef
    message: Message
    decision_id: str


class InboundAnswer(Contract):
    actor: Actor
    decision: Decision


class PairingInput(Contract):
    conversation: ConversationRef
    message: Message


class PairingAnswer(Contract):
    """`code` for a stranger to show; `actor` once a link has paired them."""

    code: str = ""
    actor: Actor | None = None


# --- a turn ------------------------------------------------------------------------------------------


class UnderstandInput(Contract):
    turn_id: str
    text: str
    locale: str = ""


class IntentAction(Contract):
    """What an intent does, as its YAML file says; slots are filled from the text."""

    reply: dict[str, str] = {}
    tool: str = ""
    parameters: dict[str, JsonValue] = {}
    ask_model: bool = False


class Understood(Contract):
    understanding: Understanding
    action: IntentAction | None = None


class ModelQuestion(Contract):
    """`pinned` is the route that the conversation asked for by name, `intent` what the message is about."""

    conversation: ConversationRef
    actor: Actor
    decision_id: str
    group: bool = False
    pinned: str = ""
    intent: str = ""


class RouteRef(Contract):
    name: str
    model: str
    locality: Literal["local", "cloud"] = "local"


class AllowedRoute(Contract):
    route: RouteRef
    decision: Decision


class ModelAnswer(Contract):
    """The first route that policy allows, if any; `configured` tells none-allowed from none-there."""

    decision: Decision
    route: RouteRef | None = None
    configured: bool = False
    offered: tuple[str, ...] = ()
    """Local model servers that were found and may be used once somebody consents."""
    routes: tuple[AllowedRoute, ...] = ()
    """Every route that policy allows, in the order in which they are tried; `route` is the first of them."""
    refused: tuple[str, ...] = ()
    """`NAME: why` of each route that policy refuses, and of a pinned one that is not configured."""


class DialogueLine(Contract):
    role: Literal["user", "assistant"]
    text: str


class RetrieveInput(Contract):
    conversation: ConversationRef
    limit: int = 12


class Retrieved(Contract):
    lines: tuple[DialogueLine, ...] = ()


class GenerateInput(Contract):
    conversation: ConversationRef
    turn_id: str
    route: RouteRef
    decision_id: str
    dialogue: tuple[DialogueLine, ...]
    text: str
    language: str = "en"
    tools: tuple[ToolOffer, ...] = ()
    """What the model may call in this round. None with `rounds` behind it: it has to answer now."""
    rounds: tuple[ToolRound, ...] = ()
    person: str = ""
    """Who is answered, for the account of what models cost."""


class Generated(Contract):
    """The model's answer, or the calls that it wants made first."""

    text: str
    route: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    calls: tuple[ToolRequest, ...] = ()


class CollectInput(Contract):
    """Fetch what the platform holds of a message and store it encrypted."""

    conversation: ConversationRef
    attachments: tuple[Attachment, ...]


class Collected(Contract):
    attachments: tuple[Attachment, ...]
    failed: tuple[str, ...] = ()


class EgressQuestion(Contract):
    conversation: ConversationRef
    actor: Actor
    kind: Literal["reply", "notice", "pairing"] = "reply"
    decision_id: str
    parts: int = 1
    group: bool = False


class EgressAnswer(Contract):
    decision: Decision


class DeliverInput(Contract):
    """`delivery_id` names this reply in the outbox: the same id is never sent twice unmarked."""

    conversation: ConversationRef
    turn_id: str
    delivery_id: str
    kind: Literal["reply", "notice", "pairing"] = "reply"
    reply: Reply
    decision_id: str


class Delivered(Contract):
    """`wait_s` > 0: the rate is used up; call again after that time."""

    outcome: Literal["sent", "wait", "refused", "held"] = "sent"
    wait_s: float = 0
    calls: int = 0
    marked: int = 0
    reason: str = ""


class RememberInput(Contract):
    conversation: ConversationRef
    turn_id: str
    message_id: str
    sender_id: str = ""
    said: str = ""
    said_at: float = 0
    answered: str = ""
    answered_at: float = 0


class DeadLetterInput(Contract):
    conversation: ConversationRef
    turn_id: str
    code: str
    cause: str
    envelope: Envelope | None = None


class KeptEvent(Contract):
    """What a dead letter keeps, so that the same event can be tried again."""

    conversation: ConversationRef
    envelope: Envelope


class Done(Contract):
    """Nothing more to say."""


# --- tools ---------------------------------------------------------------------------------------------


class ToolRunInput(Contract):
    """Everything that a `ToolRun` needs. `report_to` is a conversation's workflow id, without a run id."""

    invocation_id: str
    invocation: ToolInvocation
    actor: Actor
    conversation: ConversationRef | None = None
    turn_id: str = ""
    quotes: str = ""
    language: str = "en"
    report_to: str = ""
    split_queues: bool = False
    approval_s: float = 30 * 24 * 3600
    """A yes is waited for at most so long; the settings may say less."""
    door: str = ""
    """Where it came in: chat, rest, grpc, mcp, cli."""


class ToolQuestion(Contract):
    """May it run? After an approval the same question is put again, with who approved and over which hashes."""

    invocation_id: str
    invocation: ToolInvocation
    actor: Actor
    conversation: ConversationRef | None = None
    decision_id: str
    approved_by: Actor | None = None
    approved_hash: str = ""
    approved_content_hash: str = ""
    """The hashes of the parameters and the tool that the approval was for; others are not covered by it."""


class ToolAnswer(Contract):
    """`network` holds the hosts that policy lets the tool reach."""

    decision: Decision
    known: bool = True
    timeout_s: float = 30
    approval_s: float = 0
    """How long to wait for a person's yes; 0 leaves it to the run's own input."""
    repeatable: bool = False
    content_hash: str = ""
    params_hash: str = ""
    network: tuple[str, ...] = ()
    unavailable: str = ""
    effects: str = ""
    risk: str = ""


class ToolCall(Contract):
    """`content_hash` is what was decided about: a worker whose tool has another one does not run it."""

    invocation_id: str
    invocation: ToolInvocation
    decision_id: str
    actor: Actor
    language: str = "en"
    timeout_s: float = 30
    content_hash: str = ""
    repeatable: bool = False
    network: tuple[str, ...] = ()
    conversation: ConversationRef | None = None


class ToolProgress(Contract):
    """How far a run is; `state` is what it does: deciding, waiting (for a person), running, ended."""

    state: str = "deciding"
    tool_name: str = ""
    text: str = ""
    fraction: float | None = None
    updated_at: float = 0
    waiting: ToolWaiting | None = None


class ToolOutcome(Contract):
    """The signal with which a tool run reports to its conversation."""

    invocation_id: str
    turn_id: str = ""
    result: ExecutionResult
    dedup_key: str = Field(default="")


# --- callbacks -----------------------------------------------------------------------------------------


class CallbackQuestion(Contract):
    """May the result of this run be posted there?"""

    invocation_id: str
    url: str
    actor: Actor
    conversation: ConversationRef | None = None
    decision_id: str


class CallbackAnswer(Contract):
    decision: Decision


class CallbackInput(Contract):
    invocation_id: str
    url: str
    result: ExecutionResult
    decision_id: str


class CallbackDone(Contract):
    """How the posting ended; `status` is the last answer's, 0 where there was none."""

    outcome: Literal["delivered", "refused"] = "delivered"
    status: int = 0
    attempts: int = 1
    reason: str = ""
