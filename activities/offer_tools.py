"""What tools there are for a person: asked before a model is offered any, and for `/tools`, `/tool` and approvals.

An offer is no permission: each run is decided again, with its exact parameters.
"""

from __future__ import annotations

import asyncio
import time
from fnmatch import fnmatchcase
from typing import Protocol

from temporalio import activity

from activities.deps import Deps
from portico.contracts.messages import ADMIN_ROLES, Actor, ConversationRef, Effect
from portico.contracts.policy import (
    Action,
    AdminAction,
    PolicyContext,
    PolicyInput,
    ToolAction,
    params_hash,
)
from portico.contracts.tool_steps import (
    ApprovalQuestion,
    ApprovalVerdict,
    ListedTool,
    LookUpAnswer,
    LookUpQuestion,
    OfferAnswer,
    OfferQuestion,
    ToolBounds,
)
from portico.tool import ToolSpec
from portico.tools.checks import faults
from portico.tools.parameters import typed, usage

DESCRIPTION_LENGTH = 120
KEPT_S = 5.0
"""How long an offer may be out of date; no run is decided by it."""


class AboutTool(Protocol):
    async def __call__(
        self, declared: ToolSpec, digest: str, *, actor: Actor, conversation: ConversationRef
    ) -> PolicyInput: ...


class OfferSteps:
    """Reads the catalog and asks OPA. Raises `Unavailable` while OPA is unavailable."""

    def __init__(self, deps: Deps, about_tool: AboutTool) -> None:
        """`about_tool` puts the question whether a tool may run, as it is put before each run."""
        self._deps = deps
        self._tools = deps.catalog
        self._about_tool = about_tool
        self._kept: dict[object, tuple[float, tuple[ListedTool, ...]]] = {}

    @activity.defn(name="offer_tools")
    async def offer_tools(self, question: OfferQuestion) -> OfferAnswer:
        """Every tool, with what policy says of this person's using it."""
        settings = self._deps.settings.tools
        return OfferAnswer(
            tools=await self._all_listed(question),
            bounds=ToolBounds(
                rounds=settings.rounds, calls=settings.calls, tokens=settings.tokens, seconds=settings.plan_s
            ),
            to_models=settings.offer_to_models,
            problems=self._tools.problems() if question.actor.role in ADMIN_ROLES else (),
        )

    @activity.defn(name="look_up_tool")
    async def look_up_tool(self, question: LookUpQuestion) -> LookUpAnswer:
        """What a person typed, as a call that fits the tool's schema; else every fault of it."""
        spec = self._tools.spec(question.name)
        if spec is None:
            return LookUpAnswer(known=False, nearest=self._tools.nearest(question.name))
        parameters = typed(
            spec.parameters, pairs=question.pairs, loose=question.loose, given=dict(question.given)
        )
        return LookUpAnswer(
            unavailable=spec.unavailable,
            parameters=parameters,
            faults=tuple(f"{one.path}: {one.message}" for one in faults(spec, parameters)),
            usage=usage(spec.name, spec.parameters),
        )

    @activity.defn(name="authorize_approval")
    async def authorize_approval(self, question: ApprovalQuestion) -> ApprovalVerdict:
        """May this person answer for that run? The same question as at the edge."""
        action = AdminAction(operation="tool.approve", subject=question.invocation_id)
        asked = PolicyInput.about(
            action,
            actor=question.actor,
            conversation=question.conversation,
            group=question.group,
            context=PolicyContext.at(time.time(), local_only=self._deps.settings.local_only),
        )
        decision = await self._deps.policy.decide("admin", asked, decision_id=question.decision_id)
        return ApprovalVerdict(decision=decision)

    async def _all_listed(self, question: OfferQuestion) -> tuple[ListedTool, ...]:
        """Each tool is a question to OPA, and a model's rounds follow one another quickly: a list is kept briefly."""
        specs = self._tools.specs()
        known = tuple((spec.name, spec.content_hash, spec.unavailable) for spec in specs)
        key = (question.actor, question.conversation.id, known)
        kept_until, listed = self._kept.get(key, (0.0, ()))
        now = time.monotonic()
        if now < kept_until:
            return listed
        listed = tuple(
            await asyncio.gather(*(self._listed(spec, question, number) for number, spec in enumerate(specs)))
        )
        self._kept = {one: kept for one, kept in self._kept.items() if now < kept[0]}
        self._kept[key] = (now + KEPT_S, listed)
        return listed

    async def _listed(self, spec: ToolSpec, question: OfferQuestion, number: int) -> ListedTool:
        asked = await self._about_tool(
            spec, params_hash(spec.name, {}), actor=question.actor, conversation=question.conversation
        )
        decision = await self._deps.policy.decide(
            "tool", asked, decision_id=f"{question.decision_id}-{number}"
        )
        return ListedTool(
            name=spec.name,
            description=_first_sentence(spec.description),
            effect=decision.effect,
            reason="" if decision.effect is Effect.ALLOW else "; ".join(decision.reasons),
            unavailable=spec.unavailable or _unreachable(spec, asked.action),
            content_hash=spec.content_hash,
            to_models=any(fnmatchcase(spec.name, pattern) for pattern in self._deps.settings.tools.offered),
        )


def _unreachable(spec: ToolSpec, action: Action) -> str:
    """A tool of the network is of no use where the owner named nothing that it may reach."""
    if not spec.network or not isinstance(action, ToolAction) or action.hosts:
        return ""
    return f"the settings name nothing that it may reach ([tools] {spec.network})"


def _first_sentence(description: str) -> str:
    first = description.partition(". ")[0].rstrip(".")
    return first if len(first) <= DESCRIPTION_LENGTH else first[: DESCRIPTION_LENGTH - 1] + "…"
