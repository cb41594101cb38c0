"""Contracts of tool offers, tool calls by models, and approvals.

Tolerant to unknown and missing fields, like the contracts they are built from.
"""

from __future__ import annotations

from pydantic import JsonValue

from portico.contracts.messages import Actor, Contract, ConversationRef, Decision, Effect

# --- offers ------------------------------------------------------------------------------------------


class ToolOffer(Contract):
    """A tool that a model may call. Description and schema are the catalog's; the hash identifies them."""

    name: str
    content_hash: str = ""


class ListedTool(Contract):
    """A tool as a person sees it in a list. `reason` says why it is denied, or who has to approve."""

    name: str
    description: str
    effect: Effect = Effect.ALLOW
    reason: str = ""
    unavailable: str = ""
    content_hash: str = ""
    to_models: bool = True
    """False if the settings hide this tool from models."""

    @property
    def usable(self) -> bool:
        return self.effect is not Effect.DENY and not self.unavailable


class ToolBounds(Contract):
    """Limits for tool use by a model in answer to one message."""

    rounds: int = 5
    calls: int = 4
    tokens: int = 60_000
    seconds: float = 300


class OfferQuestion(Contract):
    """Which tools may this person use in this conversation?"""

    conversation: ConversationRef
    actor: Actor
    decision_id: str
    group: bool = False


class OfferAnswer(Contract):
    """`to_models` is false if the settings hide all tools from models. `problems`: unreadable files."""

    tools: tuple[ListedTool, ...] = ()
    bounds: ToolBounds = ToolBounds()
    to_models: bool = True
    problems: tuple[str, ...] = ()


class LookUpQuestion(Contract):
    """A tool call as typed by a person; the tool's schema gives the words their types."""

    name: str
    pairs: tuple[tuple[str, str], ...] = ()
    loose: tuple[str, ...] = ()
    given: dict[str, JsonValue] = {}


class LookUpAnswer(Contract):
    """The resolved call, or its faults. `nearest` only if there is no such tool."""

    known: bool = True
    nearest: tuple[str, ...] = ()
    unavailable: str = ""
    parameters: dict[str, JsonValue] = {}
    faults: tuple[str, ...] = ()
    usage: str = ""


# --- calls by models ---------------------------------------------------------------------------------


class ToolRequest(Contract):
    """A call as the model wrote it. `problem` says why it is invalid; otherwise `parameters` match the schema."""

    id: str
    name: str
    arguments: str = ""
    parameters: dict[str, JsonValue] = {}
    problem: str = ""


class ToolReturn(Contract):
    """A call's result as text for the model. It is data, whoever wrote it."""

    id: str
    text: str


class ToolRound(Contract):
    """The model's text next to its calls, the calls, and their results."""

    text: str = ""
    calls: tuple[ToolRequest, ...]
    results: tuple[ToolReturn, ...] = ()


# --- approvals ---------------------------------------------------------------------------------------


class ToolWaiting(Contract):
    """The signal of a tool run to its conversation that it waits for an approval.

    `parameters_shown` is text for people. `self_approval`: the requester may approve too.
    """

    invocation_id: str
    turn_id: str = ""
    tool_name: str
    parameters_shown: str = ""
    params_hash: str = ""
    expires_at: float = 0
    self_approval: bool = False
    effects: str = ""
    risk: str = ""
    reasons: tuple[str, ...] = ()


class ApprovalAnswer(Contract):
    """A person's yes or no to exactly the waiting call. `decision_id`: the decision that allowed the answer."""

    approved: bool
    by: Actor
    decision_id: str = ""


class ApprovalQuestion(Contract):
    """May this person answer this run's approval?"""

    conversation: ConversationRef
    actor: Actor
    invocation_id: str
    decision_id: str
    group: bool = False


class ApprovalVerdict(Contract):
    decision: Decision
