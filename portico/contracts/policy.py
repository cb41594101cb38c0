"""The input of every policy question, in one shape. Pure: no I/O, no clock.

`policies/people/people.rego` validates it again: a missing field or a wrong type is denied.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, get_args

from pydantic import JsonValue

from portico.contracts.messages import Actor, Contract, ConversationRef

Question = Literal["inbound", "model", "egress", "tool", "admin"]
QUESTIONS: tuple[Question, ...] = get_args(Question)

Admit = Literal["paired", "anyone"]
"""Whom a channel's account admits: paired people, or anyone in a private chat."""

EDGE = ConversationRef(id="edge", channel="api", account="default", chat="")
"""Stands for the conversation where a request at the edge belongs to no conversation."""


class PolicyChannel(Contract):
    """The channel that the question is about."""

    name: str
    account: str
    group: bool = False


class PolicyConversation(Contract):
    """`data_class` is `local` (never to a cloud route unless the owner allowed it) or `shareable`."""

    id: str
    data_class: str = "local"


class InboundAction(Contract):
    """May this message pass? `kind` is the message's; `addressed` counts in groups."""

    kind: str
    admit: Admit = "paired"
    addressed: bool = True


class ModelAction(Contract):
    """May the content go to that route? `owner_allowed`: the owner allowed local content in the cloud.

    `cost_per_day` is the route's budget (0: no limit), `cost_today` the route's cost today and
    `person_cost_today` the cost of this person's answers, over all routes.
    """

    route: str
    locality: Literal["local", "cloud"]
    owner_allowed: bool = False
    purpose: Literal["answer", "embedding"] = "answer"
    intent: str = ""
    input_cost_per_mtok: float = 0.0
    output_cost_per_mtok: float = 0.0
    cost_per_day: float = 0.0
    cost_today: float = 0.0
    person_cost_today: float = 0.0


class EgressAction(Contract):
    """May this be delivered there?"""

    kind: Literal["reply", "notice", "pairing"]
    channel: str
    account: str
    conversation: str
    admit: Admit = "paired"


class CallbackAction(Contract):
    """May a result be posted there? `named`: the settings name the host (`[tools] callback_hosts`)."""

    kind: Literal["callback"] = "callback"
    host: str
    port: int
    named: bool


class ToolAction(Contract):
    """May the tool run with exactly the parameters whose hash this is?"""

    tool: str
    effects: Literal["none", "read", "write"]
    risk: Literal["low", "medium", "high"]
    params_hash: str
    content_hash: str = ""
    """Hash of the tool that would run; an approval covers exactly that."""
    source: str = "function"
    hosts: tuple[str, ...] = ()
    """Hosts that the settings allow."""


class AdminAction(Contract):
    """May this person administer Portico? `operation` is `noun.verb`.

    `role` is the role that is granted (or empty), `subject` the id of the affected object.
    """

    operation: str
    role: str = ""
    subject: str = ""


Action = InboundAction | ModelAction | EgressAction | CallbackAction | ToolAction | AdminAction


class PolicyApproval(Contract):
    """The approver, and the hashes of the parameters and the tool that were shown."""

    id: str
    role: str
    params_hash: str
    content_hash: str


class PolicyContext(Contract):
    """Facts of this moment. `now` is RFC 3339 in UTC, `cost_today` the cost of all routes today (UTC)."""

    now: str
    local_only: bool = False
    cost_today: float = 0.0

    @classmethod
    def at(cls, timestamp: float, *, local_only: bool, cost_today: float = 0.0) -> PolicyContext:
        """`timestamp` in seconds since the epoch: `workflow.now()` in workflow code."""
        moment = datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="seconds")
        return cls(now=moment.replace("+00:00", "Z"), local_only=local_only, cost_today=cost_today)


class ApprovedContext(PolicyContext):
    """The context after an approval."""

    approved_by: PolicyApproval


class PolicyInput(Contract):
    """The input of every question."""

    actor: Actor
    channel: PolicyChannel
    conversation: PolicyConversation
    action: Action
    context: PolicyContext | ApprovedContext

    def with_approval(self, by: Actor, params_hash: str, content_hash: str) -> PolicyInput:
        """The same question after an approval of exactly these hashes."""
        approval = PolicyApproval(id=by.id, role=by.role, params_hash=params_hash, content_hash=content_hash)
        context = ApprovedContext(**self.context.model_dump(), approved_by=approval)
        return self.model_copy(update={"context": context})

    @classmethod
    def about(
        cls,
        action: Action,
        *,
        actor: Actor,
        conversation: ConversationRef,
        group: bool,
        context: PolicyContext,
    ) -> PolicyInput:
        """The input for an action in a conversation."""
        return cls(
            actor=actor,
            channel=PolicyChannel(name=conversation.channel, account=conversation.account, group=group),
            conversation=PolicyConversation(id=conversation.id, data_class=conversation.data_class),
            action=action,
            context=context,
        )


def egress_action(
    kind: Literal["reply", "notice", "pairing"], target: ConversationRef, *, admit: Admit
) -> EgressAction:
    """A delivery to that conversation."""
    return EgressAction(
        kind=kind, channel=target.channel, account=target.account, conversation=target.id, admit=admit
    )


def input_digest(policy_input: PolicyInput) -> str:
    """SHA-256 (hex) over the whole input, whatever the order of its fields: the subject of a decision."""
    exact = json.dumps(policy_input.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(exact.encode()).hexdigest()


def params_hash(tool: str, parameters: Mapping[str, JsonValue]) -> str:
    """SHA-256 (hex) over the tool's name and its exact parameters, whatever the order of their names."""
    exact = json.dumps([tool, dict(parameters)], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(exact.encode()).hexdigest()
