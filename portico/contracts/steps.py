"""Input and output of each activity and signal, one object each.

Tolerant to unknown and missing fields, like the contracts they are built from.
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

# --- start ---------------------------------------------------------------------------------------------


class ConversationStart(Contract):
    """Input of a `Conversation` that the edge starts; later runs carry more (`workflows.state`)."""

    conversation: ConversationRef
    split_queues: bool = False


# --- arrival ---------------------------------------------------------------------------------------


class NormalizeInput(Contract):
    conversation: ConversationRef
    turn_id: str
    envelope: Envelope


class Normalized(Contract):
    """Exactly one of: a message, a repeat of an event that has a turn, an event that needs no turn."""

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
    """`code` for an unpaired person; `actor` once a link has paired them."""

    code: str = ""
    actor: Actor | None = None


# --- a turn ------------------------------------------------------------------------------------------


class UnderstandInput(Contract):
    turn_id: str
    text: str
    locale: str = ""


class IntentAction(Contract):
    """An intent's action from its YAML file, with slots filled from the text."""

    reply: dict[str, str] = {}
    tool: str = ""
    parameters: dict[str, JsonValue] = {}
    ask_model: bool = False


class Understood(Contract):
    understanding: Understanding
    action: IntentAction | None = None


class ModelQuestion(Contract):
    """`pinned` is the route that the conversation selected by name, `intent` the message's intent."""

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
    """The first route that policy allows, if any; `configured` is false if there is no route at all."""

    decision: Decision
    route: RouteRef | None = None
    configured: bool = False
    offered: tuple[str, ...] = ()
    """Detected local model servers, usable once a person consents."""
    routes: tuple[AllowedRoute, ...] = ()
    """Every route that policy allows, in order of trial; `route` is the first."""
    refused: tuple[str, ...] = ()
    """`NAME: reason` for each route that policy denies, and for a pinned route that is not configured."""


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
    """Tools that the model may call in this round. Empty after earlier `rounds`: the model has to answer."""
    rounds: tuple[ToolRound, ...] = ()
    person: str = ""
    """Id of the person who gets the answer, for cost accounting."""


class Generated(Contract):
    """The model's answer, or the tool calls that it requests first."""

    text: str
    route: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    calls: tuple[ToolRequest, ...] = ()


class CollectInput(Contract):
    """Fetch a message's attachments from the platform and store them encrypted."""

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
    """`wait_s` > 0: the rate is exhausted; retry after that time."""

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
    """The event that a dead letter stores for a retry."""

    conversation: ConversationRef
    envelope: Envelope


class Done(Contract):
    """An output without content."""


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
    """Longest wait for an approval; the settings may shorten it."""
    door: str = ""
    """Where the request arrived: chat, rest, grpc, mcp, cli."""


class ToolQuestion(Contract):
    """May the tool run? After an approval the same question is asked again, with approver and hashes."""

    invocation_id: str
    invocation: ToolInvocation
    actor: Actor
    conversation: ConversationRef | None = None
    decision_id: str
    approved_by: Actor | None = None
    approved_hash: str = ""
    approved_content_hash: str = ""
    """Hashes of the approved parameters and tool; the approval covers nothing else."""


class ToolAnswer(Contract):
    """`network` holds the hosts that policy lets the tool reach."""

    decision: Decision
    known: bool = True
    timeout_s: float = 30
    approval_s: float = 0
    """How long to wait for an approval; 0: as the run's input says."""
    repeatable: bool = False
    content_hash: str = ""
    params_hash: str = ""
    network: tuple[str, ...] = ()
    unavailable: str = ""
    effects: str = ""
    risk: str = ""


class ToolCall(Contract):
    """`content_hash` identifies the decided tool: a worker whose tool has another hash does not run it."""

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
    """Progress of a run; `state`: deciding, waiting (for a person), running, ended."""

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
    """Outcome of the callback; `status` is the last response's, 0 without a response."""

    outcome: Literal["delivered", "refused"] = "delivered"
    status: int = 0
    attempts: int = 1
    reason: str = ""
