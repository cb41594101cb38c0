"""What was said before in this conversation, for a model to go on from."""

from __future__ import annotations

from temporalio import activity

from activities.deps import Deps
from portico.contracts.steps import DialogueLine, Retrieved, RetrieveInput

LINE_LIMIT = 2_000


class RetrieveSteps:
    """Reads only; bounded, so that the ten-thousandth turn costs what the first did."""

    def __init__(self, deps: Deps) -> None:
        self._memory = deps.memory

    @activity.defn(name="retrieve")
    async def retrieve(self, given: RetrieveInput) -> Retrieved:
        lines = await self._memory.recent(given.conversation.id, given.limit)
        return Retrieved(
            lines=tuple(DialogueLine(role=line.role, text=line.text[:LINE_LIMIT]) for line in lines)
        )
