"""The questions to policy: may a message pass, a model be used, a reply leave, a tool run.

Each answer goes into the workflow's history, with its id, before anything is done because of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from temporalio import activity

from activities.deps import Deps
from portico.contracts.messages import Actor, ConversationRef, Decision, Effect
from portico.contracts.policy import (
    EDGE,
    EgressAction,
    InboundAction,
    PolicyContext,
    PolicyInput,
    ToolAction,
    egress_action,
    params_hash,
)
from portico.contracts.steps import (
    EgressAnswer,
    EgressQuestion,
    InboundAnswer,
    InboundQuestion,
    ModelAnswer,
    ModelQuestion,
    RouteRef,
    ToolAnswer,
    ToolQuestion,
)
from portico.llm.choice import ask_each, in_order, model_action, refusals
from portico.settings.settings import Settings
from portico.tool import ToolSpec

NOTHING_TO_ASK = Decision(effect=Effect.DENY, reasons=("no route is configured",))


class AuthorizeSteps:
    """Asks OPA with the facts of this moment. Raises `Unavailable` while it is unavailable: nothing is let through."""

    def __init__(self, deps: Deps, *, tool_spec: Callable[[str], ToolSpec | None]) -> None:
        self._deps = deps
        self._tool_spec = tool_spec

    @activity.defn(name="authorize_inbound")
    async def authorize_inbound(self, question: InboundQuestion) -> InboundAnswer:
        conversation, message = question.conversation, question.message
        account = self._deps.accounts.get(conversation.channel, conversation.account)
        actor = await self._deps.people.actor_of(
            conversation.channel, conversation.account, message.sender.id
        )
        action = InboundAction(kind=message.kind, admit=account.settings.admit, addressed=message.addressed)
        asked = await self._about(action, actor=actor, conversation=conversation, group=message.group)
        decision = await self._deps.policy.decide("inbound", asked, decision_id=question.decision_id)
        return InboundAnswer(actor=actor, decision=decision)

    @activity.defn(name="authorize_model")
    async def authorize_model(self, question: ModelQuestion) -> ModelAnswer:
        """All configured routes that policy allows, in order. Each has a decision with an id of its own."""
        routes = self._deps.routes
        candidates = routes.candidates()
        conversation = await self._classed(question.conversation)
        spent = await self._deps.usage.today(question.actor.id)
        context = self._context(cost_today=spent.total)

        def about(route: RouteRef) -> PolicyInput:
            action = model_action(
                route,
                routes.settings_of(route.name),
                spent,
                owner_allowed=self._deps.settings.policy.owner_allows_cloud,
                intent=question.intent,
            )
            return PolicyInput.about(
                action,
                actor=question.actor,
                conversation=conversation,
                group=question.group,
                context=context,
            )

        asked = await ask_each(self._deps.policy, candidates, about, decision_id=question.decision_id)
        allowed = in_order(
            asked,
            pinned=question.pinned,
            preferred=routes.preferred_for(question.intent),
            failing=routes.circuit.failing(),
        )
        first = allowed[0] if allowed else None
        return ModelAnswer(
            decision=first.decision if first else asked[-1].decision if asked else NOTHING_TO_ASK,
            route=first.route if first else None,
            configured=bool(candidates),
            offered=() if first else routes.offered,
            routes=allowed,
            refused=refusals(asked, pinned=question.pinned),
        )

    @activity.defn(name="authorize_egress")
    async def authorize_egress(self, question: EgressQuestion) -> EgressAnswer:
        conversation = question.conversation
        account = self._deps.accounts.get(conversation.channel, conversation.account)
        action = egress_action(question.kind, conversation, admit=account.settings.admit)
        asked = await self._about(
            action, actor=question.actor, conversation=conversation, group=question.group
        )
        decision = await self._deps.policy.decide("egress", asked, decision_id=question.decision_id)
        return EgressAnswer(decision=decision)

    @activity.defn(name="authorize_tool")
    async def authorize_tool(self, question: ToolQuestion) -> ToolAnswer:
        """Over a hash of the exact parameters, so that an approval can be held against what runs."""
        invocation = question.invocation
        declared = self._tool_spec(invocation.tool_name)
        if declared is None:
            decision = Decision(effect=Effect.DENY, reasons=("there is no such tool",))
            return ToolAnswer(decision=decision, known=False)
        digest = params_hash(declared.name, invocation.parameters)
        conversation = question.conversation or EDGE
        asked = await self.about_tool(declared, digest, actor=question.actor, conversation=conversation)
        if question.approved_by is not None:
            asked = asked.with_approval(
                question.approved_by, question.approved_hash, question.approved_content_hash
            )
        decision = await self._deps.policy.decide("tool", asked, decision_id=question.decision_id)
        return ToolAnswer(
            decision=decision,
            timeout_s=declared.timeout_s or self._deps.settings.tools.timeout_s,
            approval_s=self._deps.settings.tools.approval_hours * 3600,
            repeatable=declared.repeatable,
            content_hash=declared.content_hash,
            params_hash=digest,
            network=_allowed_hosts(decision),
            unavailable=declared.unavailable,
            effects=declared.effects,
            risk=declared.risk,
        )

    async def about_tool(
        self, declared: ToolSpec, digest: str, *, actor: Actor, conversation: ConversationRef
    ) -> PolicyInput:
        """The question whether a tool may run with parameters of that hash."""
        action = ToolAction(
            tool=declared.name,
            effects=declared.effects,
            risk=declared.risk,
            params_hash=digest,
            content_hash=declared.content_hash,
            source=declared.source,
            hosts=_hosts(declared, self._deps.settings),
        )
        return await self._about(action, actor=actor, conversation=conversation)

    async def _about(
        self,
        action: InboundAction | EgressAction | ToolAction,
        *,
        actor: Actor,
        conversation: ConversationRef,
        group: bool = False,
    ) -> PolicyInput:
        return PolicyInput.about(
            action,
            actor=actor,
            conversation=await self._classed(conversation),
            group=group,
            context=self._context(),
        )

    def _context(self, *, cost_today: float = 0.0) -> PolicyContext:
        return PolicyContext.at(time.time(), local_only=self._deps.settings.local_only, cost_today=cost_today)

    async def _classed(self, conversation: ConversationRef) -> ConversationRef:
        """With the data class of this moment: what was set for it, else for its account."""
        chosen = await self._deps.data_classes.get(conversation.id)
        if chosen is None:
            account = self._deps.accounts.by_name.get((conversation.channel, conversation.account))
            chosen = account.settings.data_class if account else conversation.data_class
        return conversation.model_copy(update={"data_class": chosen})


def _hosts(spec: ToolSpec, settings: Settings) -> tuple[str, ...]:
    """What the settings name for this kind of tool; policy may still allow less."""
    if not spec.network:
        return ()
    return settings.tools.sites if spec.network == "sites" else settings.tools.hosts


def _allowed_hosts(decision: Decision) -> tuple[str, ...]:
    """The hosts of policy's obligation `network`."""
    named = [one.model_dump().get("hosts", ()) for one in decision.obligations if one.kind == "network"]
    return tuple(str(host) for hosts in named for host in hosts)
