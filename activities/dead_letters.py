"""Where failures are seen: a dead letter keeps the event, its cause, and the way to try it again."""

from __future__ import annotations

import time

from temporalio import activity

from activities.deps import Deps
from portico.contracts.steps import DeadLetterInput, Done, KeptEvent
from portico.storage.dead_letters import DeadLetter


class DeadLetterSteps:
    """One letter for each turn and code, however often the step is executed."""

    def __init__(self, deps: Deps) -> None:
        self._letters = deps.dead_letters

    @activity.defn(name="record_dead_letter")
    async def record_dead_letter(self, given: DeadLetterInput) -> Done:
        conversation = given.conversation
        await self._letters.add(
            DeadLetter(
                id=f"{given.turn_id}-{given.code}",
                conversation_id=conversation.id,
                turn_id=given.turn_id,
                channel=conversation.channel,
                account=conversation.account,
                code=given.code,
                cause=given.cause,
                event_json=_kept(given),
                created_at=time.time(),
            )
        )
        return Done()


def _kept(given: DeadLetterInput) -> str:
    if given.envelope is None:
        return ""
    return KeptEvent(conversation=given.conversation, envelope=given.envelope).model_dump_json()
