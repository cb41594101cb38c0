"""Which routes a program may use: policy is asked of each and its answers stored before any is called."""

from __future__ import annotations

import difflib
import time
from uuid import uuid4

from api.deps import AppDeps
from portico.contracts.messages import Actor
from portico.contracts.policy import EDGE, ModelAction, PolicyContext, PolicyInput, input_digest
from portico.contracts.steps import AllowedRoute, RouteRef
from portico.errors import Forbidden, NotFound
from portico.llm.choice import ask_each, in_order, model_action, refusals
from portico.logs import logger
from portico.settings.settings import Settings
from portico.storage.access import Principal
from portico.storage.usage import CostToday

AUTO = "auto"
ENCODER = RouteRef(name="text_encoder", model="text_encoder")

log = logger("edge")


async def allowed_routes(deps: AppDeps, person: Principal, model: str) -> tuple[AllowedRoute, ...]:
    """The routes to try, first choice first: the named one, or with `auto` all that policy allows.

    Raises `NotFound` for an unknown name, `Forbidden` with policy's reasons, `Unavailable` while OPA is unavailable.
    """
    candidates = deps.routes.candidates()
    wanted = candidates if model == AUTO else tuple(one for one in candidates if one.name == model)
    if not wanted:
        raise NotFound(_unknown(model, [one.name for one in candidates]))
    spent = await deps.usage.today(person.person_id)
    actions = {
        one.name: model_action(
            one,
            deps.routes.settings_of(one.name),
            spent,
            owner_allowed=deps.settings.policy.owner_allows_cloud,
        )
        for one in wanted
    }
    asked = await _decided(deps, person, wanted, actions, spent)
    allowed = in_order(asked, failing=deps.routes.circuit.failing())
    if not allowed:
        raise Forbidden("; ".join(refusals(asked)))
    return allowed


async def allowed_encoder(deps: AppDeps, person: Principal, model: str) -> AllowedRoute:
    """The same for embeddings, which one model makes."""
    if model not in (AUTO, ENCODER.name):
        raise NotFound(_unknown(model, [ENCODER.name]))
    spent = await deps.usage.today(person.person_id)
    action = ModelAction(
        route=ENCODER.name,
        locality=ENCODER.locality,
        owner_allowed=deps.settings.policy.owner_allows_cloud,
        purpose="embedding",
        cost_today=spent.of_route(ENCODER.name),
        person_cost_today=spent.person,
    )
    (asked,) = await _decided(deps, person, (ENCODER,), {ENCODER.name: action}, spent)
    if not asked.decision.allowed:
        raise Forbidden("; ".join(refusals((asked,))))
    return asked


async def _decided(
    deps: AppDeps,
    person: Principal,
    routes: tuple[RouteRef, ...],
    actions: dict[str, ModelAction],
    spent: CostToday,
) -> tuple[AllowedRoute, ...]:
    """Returns once all answers are stored; the effect comes after."""
    now = time.time()
    context = _context(deps.settings, spent, now)
    # What comes through here belongs to no conversation; its class is the owner's word.
    place = EDGE.model_copy(update={"data_class": deps.settings.llm.door_data_class})
    inputs = {
        route.name: PolicyInput.about(
            actions[route.name],
            actor=Actor(id=person.person_id, role=person.role, paired=True),
            conversation=place,
            group=False,
            context=context,
        )
        for route in routes
    }
    asked = await ask_each(
        deps.policy, routes, lambda route: inputs[route.name], decision_id=f"door-{uuid4().hex}"
    )
    for one in asked:
        await deps.decisions.record(one.decision, "model", input_digest(inputs[one.route.name]), now)
        log.info(
            "edge.decided",
            decision=one.decision.decision_id,
            operation="model",
            effect=one.decision.effect.value,
            person=person.person_id,
            key=person.key_id,
            subject=one.route.name,
        )
    return asked


def _context(settings: Settings, spent: CostToday, now: float) -> PolicyContext:
    return PolicyContext.at(now, local_only=settings.local_only, cost_today=spent.total)


def _unknown(model: str, known: list[str]) -> str:
    """What was asked for, and what it may have been meant to be."""
    near = difflib.get_close_matches(model, [*known, AUTO], n=3, cutoff=0.4) or sorted(known)[:3]
    meant = f" ({', '.join(near)}?)" if known else " (no route is configured)"
    return f"the model {model[:64]!r}{meant}"
