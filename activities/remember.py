"""After the reply: what both sides said goes into the conversation's memory."""

from __future__ import annotations

from temporalio import activity

from activities.deps import Deps
from portico.contracts.steps import Done, RememberInput
from portico.storage.memory import MemoryLine


class RememberSteps:
    """Never delays a reply; idempotent for each turn."""

    def __init__(self, deps: Deps) -> None:
        self._memory = deps.memory

    @activity.defn(name="remember")
    async def remember(self, given: RememberInput) -> Done:
        lines = []
        if given.said:
            lines.append(MemoryLine(role="user", text=given.said, at=given.said_at))
        if given.answered:
            lines.append(MemoryLine(role="assistant", text=given.answered, at=given.answered_at))
        await self._memory.remember(given.conversation.id, given.turn_id, lines)
        return Done()
