"""Puts the `model` question for every configured route, and sorts the allowed ones into the order of trial."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from portico.contracts.messages import Decision
from portico.contracts.policy import ModelAction, PolicyInput
from portico.contracts.steps import AllowedRoute, RouteRef
from portico.policy.opa import PolicyClient
from portico.settings.models import RouteSettings
from portico.storage.usage import CostToday

PREFER = "prefer"
NO_RANK = 50
"""Where policy says nothing; the shipped rules give 10 to routes on this machine and 20 to the cloud."""


async def ask_each(
    policy: PolicyClient,
    routes: Sequence[RouteRef],
    about: Callable[[RouteRef], PolicyInput],
    *,
    decision_id: str,
) -> tuple[AllowedRoute, ...]:
    """The decision on each route, allowed or not; each has an id of its own, `decision_id` and a number."""

    async def ask(number: int, route: RouteRef) -> AllowedRoute:
        decision = await policy.decide("model", about(route), decision_id=f"{decision_id}-{number}")
        return AllowedRoute(route=route, decision=decision)

    return tuple(await asyncio.gather(*(ask(number, route) for number, route in enumerate(routes))))


def model_action(
    route: RouteRef,
    settings: RouteSettings | None,
    spent: CostToday,
    *,
    owner_allowed: bool,
    intent: str = "",
) -> ModelAction:
    """Policy's input about a route. `settings` is None if the route was removed a moment ago."""
    return ModelAction(
        route=route.name,
        locality=route.locality,
        owner_allowed=owner_allowed,
        intent=intent,
        input_cost_per_mtok=settings.input_cost_per_mtok if settings else 0,
        output_cost_per_mtok=settings.output_cost_per_mtok if settings else 0,
        cost_per_day=settings.cost_per_day if settings else 0,
        cost_today=spent.of_route(route.name),
        person_cost_today=spent.person,
    )


def in_order(
    asked: Sequence[AllowedRoute],
    *,
    pinned: str = "",
    preferred: str = "",
    failing: Collection[str] = (),
) -> tuple[AllowedRoute, ...]:
    """The allowed ones, first choice first.

    A route that failed just now is tried after all others. Then counts, in this order: what the conversation
    pinned, what the settings prefer for the intent, policy's rank (less is earlier), the order of the file.
    """

    def key(one: AllowedRoute) -> tuple[bool, bool, bool, float]:
        name = one.route.name
        return name in failing, name != pinned, name != preferred, rank(one.decision)

    return tuple(sorted((one for one in asked if one.decision.allowed), key=key))


def refusals(asked: Sequence[AllowedRoute], *, pinned: str = "") -> tuple[str, ...]:
    """One line for each route that policy refuses, and one for a pinned route that is not there."""
    lines = [
        f"{one.route.name}: {'; '.join(one.decision.reasons)}" for one in asked if not one.decision.allowed
    ]
    if pinned and pinned not in {one.route.name for one in asked}:
        lines.insert(0, f"{pinned}: there is no such route")
    return tuple(lines)


def rank(decision: Decision) -> float:
    """The least of policy's ranks."""
    ranks = [
        (obligation.model_extra or {}).get("rank")
        for obligation in decision.obligations
        if obligation.kind == PREFER
    ]
    return min((float(one) for one in ranks if isinstance(one, int | float)), default=NO_RANK)
