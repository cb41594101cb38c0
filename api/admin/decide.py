"""Decisions at the edge, outside of workflows: policy is asked and its answer stored before anything is changed."""

from __future__ import annotations

import time

from api.deps import AppDeps
from portico.contracts.messages import Actor, Decision
from portico.contracts.policy import EDGE, AdminAction, PolicyContext, PolicyInput, input_digest
from portico.errors import Forbidden
from portico.logs import logger
from portico.storage.access import Principal

log = logger("edge")


async def decide_admin(
    deps: AppDeps, person: Principal, operation: str, *, role: str = "", subject: str = ""
) -> Decision:
    """May this person do it? Returns once the answer is stored; the effect comes after.

    `role` is the role that is given away, `subject` the id of what it is about. Raises `Forbidden` with
    policy's reasons (also where it would want an approval: nobody can give one here), `Unavailable` while
    OPA is unavailable.
    """
    now = time.time()
    asked = PolicyInput.about(
        AdminAction(operation=operation, role=role, subject=subject),
        actor=Actor(id=person.person_id, role=person.role, paired=True),
        conversation=EDGE,
        group=False,
        context=PolicyContext.at(now, local_only=deps.settings.local_only),
    )
    decision = await deps.policy.decide("admin", asked)
    await deps.decisions.record(decision, "admin", input_digest(asked), now)
    log.info(
        "edge.decided",
        decision=decision.decision_id,
        operation=operation,
        effect=decision.effect.value,
        person=person.person_id,
        key=person.key_id,
        subject=subject,
    )
    if not decision.allowed:
        raise Forbidden("; ".join(decision.reasons))
    return decision
