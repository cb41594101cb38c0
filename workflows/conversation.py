"""One conversation: a long-lived workflow that events are signalled to and that never ends.

Four lanes run concurrently: arrivals (normalize and authorize, in order; a control message acts at once),
turns (one at a time), outcomes of tools, and what tools wait for. It continues as new when Temporal suggests it,
when it rests, or when workers of another version take over: a run stays with the version that it began on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import datetime
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from portico.contracts import names
    from portico.contracts.messages import Envelope
    from portico.contracts.steps import ToolOutcome
    from portico.contracts.tool_steps import ToolWaiting
    from workflows import options, tool_plans
    from workflows.approvals import Approvals
    from workflows.arrivals import Arrivals
    from workflows.delivery import Desk
    from workflows.state import ConversationState, Open, SeenKeys, read_envelope
    from workflows.steps import Steps
    from workflows.turn import Turns


@workflow.defn(name=names.CONVERSATION)
class Conversation:
    """Entity workflow of one (channel, account, chat)."""

    @workflow.init
    def __init__(self, state: ConversationState) -> None:
        self._carried = state
        self._inbox: deque[Envelope] = deque(state.arrivals)
        self._open = Open.of(state)
        self._outcomes: deque[ToolOutcome] = deque(state.outcomes)
        self._asks: deque[ToolWaiting] = deque(state.asks)
        self._seen = SeenKeys.unpack(state.seen)
        self._busy: set[str] = set()
        self._renew = False
        self._last_activity: datetime | None = None
        self._desk = Desk(
            Steps(state.conversation, split_queues=state.split_queues), split_queues=state.split_queues
        )
        self._turns = Turns(self._desk, self._open)
        self._approvals = Approvals(self._desk, self._open)
        self._arrivals = Arrivals(self._desk, self._seen, self._open, self._turns, self._approvals)

    @workflow.run
    async def run(self, state: ConversationState) -> None:
        lanes = [
            asyncio.create_task(self._lane("arrival", self._inbox, self._arrivals.handle)),
            asyncio.create_task(self._lane("turn", self._open.queue, self._turns.take)),
            asyncio.create_task(self._lane("outcome", self._outcomes, self._turns.report)),
            asyncio.create_task(self._lane("approval", self._asks, self._approvals.ask)),
            asyncio.create_task(self._rest()),
        ]
        await workflow.wait_condition(
            lambda: self._can_continue_as_new() or any(lane.done() for lane in lanes)
        )
        for lane in lanes:
            if lane.done():
                lane.result()  # a lane ends only by a bug: fail this workflow task, so that it is seen and repeated
            lane.cancel()
        workflow.continue_as_new(
            self._state(),
            # The run that follows begins on whatever version is current then, and stays there.
            initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE,
        )

    @workflow.signal(name=names.RECEIVE)
    def receive(self, envelope: Any) -> None:
        """An event of the platform, stored the moment that this signal is: an `Envelope`, of any release."""
        self._inbox.append(read_envelope(envelope))

    @workflow.signal(name=names.TOOL_FINISHED)
    def tool_finished(self, outcome: ToolOutcome) -> None:
        """A tool run reports its end. A second report of the same run is nothing new."""
        if outcome.invocation_id in self._open.tools and not any(
            waiting.invocation_id == outcome.invocation_id for waiting in self._outcomes
        ):
            self._outcomes.append(outcome)

    @workflow.signal(name=names.TOOL_WAITS)
    def tool_waits(self, waiting: ToolWaiting) -> None:
        """A tool run waits for a person's yes."""
        if waiting.invocation_id in self._open.tools:
            self._asks.append(waiting)

    @workflow.signal(name=names.SETTLED)
    def settled(self) -> None:
        """No dead letter of this conversation is open any more."""
        self._desk.calm()

    @workflow.signal(name=names.RENEW)
    def renew(self) -> None:
        """Continue as new at the next pause, with everything that is open."""
        self._renew = True

    @workflow.query(name=names.TURNS)
    def turns(self) -> int:
        """How many turns this conversation has had, over all its runs."""
        return self._open.turns

    async def _lane(self, name, waiting, handle) -> None:  # type: ignore[no-untyped-def]
        """Take what waits, one after another, but nothing more once the run is to be renewed."""
        while True:
            await workflow.wait_condition(lambda: bool(waiting) and not self._renewing())
            item = waiting.popleft()
            self._busy.add(name)
            self._last_activity = workflow.now()
            try:
                await handle(item)
            finally:
                self._busy.discard(name)

    async def _rest(self) -> None:
        """Renew a run that has done something and now rests, and any run before its carried state ages out."""
        started = workflow.now()
        while True:
            await workflow.sleep(options.RENEWAL_TICK)
            now = workflow.now()
            last = self._last_activity
            idle = last is not None and now - last >= options.IDLE_BEFORE_RENEWAL
            if idle or now - started >= options.OLDEST_RUN:
                self._renew = True

    def _renewing(self) -> bool:
        info = workflow.info()
        return (
            self._renew
            or info.is_continue_as_new_suggested()
            or info.is_target_worker_deployment_version_changed()
        )

    def _can_continue_as_new(self) -> bool:
        return self._renewing() and not self._busy and workflow.all_handlers_finished()

    def _state(self) -> ConversationState:
        state = ConversationState(
            conversation=self._carried.conversation,
            split_queues=self._carried.split_queues,
            arrivals=tuple(self._inbox),
            outcomes=tuple(self._outcomes),
            asks=tuple(self._asks),
            seen=self._seen.pack(),
            **self._open.carried(),
        )
        return tool_plans.carried(state)
