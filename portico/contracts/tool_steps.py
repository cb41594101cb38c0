"""What a conversation and a language model say to each other about tools, one object each way.

Read tolerantly for ever, like the contracts they are built from.
"""

from __future__ import annotations

from pydantic import JsonValue

from portico.contracts.messages import Actor, Contract, ConversationRef, Decision, Effect

# --- what may be used --------------------------------------------------------------------------------


class ToolOffer(Contract):
    """A tool that a model may call. Its words and schema are the catalog's, named by the hash."""

    name: str
    content_hash: str = ""


class ListedTool(Contract):
    """A tool as a person sees it in a list. `reason` says why not, or who has to agree."""

    name: str
    description: str
    effect: Effect = Effect.ALLOW
    reason: str = ""
    unavailable: str = ""
    content_hash: str = ""
    to_models: bool = True
    """False where the settings keep this one from models."""

    @property
    def usable(self) -> bool:
        return self.effect is not Effect.DENY and not self.unavailable


class ToolBounds(Contract):
    """How much a model may do with tools for one message."""

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
    """`to_models` is false where the settings keep tools from models. `problems`: files that could not be read."""

    tools: tuple[ListedTool, ...] = ()
    bounds: ToolBounds = ToolBounds()
    to_models: bool = True
    problems: tuple[str, ...] = ()


class LookUpQuestion(Contract):
    """A tool as a person typed it: its name, and words that its schema gives a type."""

    name: str
    pairs: tuple[tuple[str, str], ...] = ()
    loose: tuple[str, ...] = ()
    given: dict[str, JsonValue] = {}


class LookUpAnswer(Contract):
    """The call to make, or what is wrong with it. `nearest` only where there is no such tool."""

    known: bool = True
    nearest: tuple[str, ...] = ()
    unavailable: str = ""
    parameters: dict[str, JsonValue] = {}
    faults: tuple[str, ...] = ()
    usage: str = ""


# --- what a model asks for ---------------------------------------------------------------------------


class ToolRequest(Contract):
    """A call as the model wrote it. `problem` says why it cannot be made; else `parameters` fit the schema."""

    id: str
    name: str
    arguments: str = ""
    parameters: dict[str, JsonValue] = {}
    problem: str = ""


class ToolReturn(Contract):
    """What a call came to, in words for the model. They are data, whoever wrote them."""

    id: str
    text: str


class ToolRound(Contract):
    """What the model wrote beside its calls, the calls, and what they came to."""

    text: str = ""
    calls: tuple[ToolRequest, ...]
    results: tuple[ToolReturn, ...] = ()


# --- approvals ---------------------------------------------------------------------------------------


class ToolWaiting(Contract):
    """The signal with which a tool run tells its conversation that it waits for a person's yes.

    `parameters_shown` is text for people. `self_approval`: who asked may answer, too.
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
    """A person's yes or no to exactly the call that waits. `decision_id`: what allowed them to say it."""

    approved: bool
    by: Actor
    decision_id: str = ""


class ApprovalQuestion(Contract):
    """May this person say yes or no to that run?"""

    conversation: ConversationRef
    actor: Actor
    invocation_id: str
    decision_id: str
    group: bool = False


class ApprovalVerdict(Contract):
    decision: Decision
