"""Making a version of the worker current: wait for its workers, switch, move what is open, see the old ones empty.

Idle conversations do not move by themselves, because nothing wakes them: they get a renew signal. Runs of a version
whose workers are gone for good are taken over. Everything here may be repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from temporalio.api.enums.v1 import RoutingConfigUpdateState
from temporalio.client import WorkflowExecution
from temporalio.service import RPCError, RPCStatusCode

from operations.deploy.versions import (
    GONE_AFTER_S,
    UNVERSIONED,
    Deployment,
    OpenRuns,
    answered,
    builds_of,
    current_of,
)
from portico.contracts import names
from portico.errors import Conflict, Misconfigured, Unavailable

PAUSE_S = 1.0
SETTLE_S = 5.0
"""How long to wait for the counts without `--wait`."""
SPREAD_S = 30.0
"""So long a switch may take to reach every part of a task queue."""
TOLD_AGAIN_S = 30.0
"""A conversation that has not moved by then gets one more signal."""
SAY_EVERY = 50
_NOT_YET = (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION)


@dataclass(frozen=True)
class PromotionPlan:
    """What to make current, and how long to wait for what. `rate`: so many runs are touched a second."""

    build_id: str
    split: bool = False
    wait_workers_s: float = 120
    wait_drained_s: float = 0
    rate: float = 20
    gone_after_s: float = GONE_AFTER_S

    @property
    def queues(self) -> tuple[str, ...]:
        return names.QUEUES if self.split else names.QUEUES[:1]

    @property
    def name(self) -> str:
        return named(self.build_id)


@dataclass
class Promoted:
    """What came of it. `left`: open runs of every other version. `lost`: why they could not be counted."""

    build_id: str
    before: str
    told: int = 0
    taken_over: int = 0
    left: dict[str, OpenRuns] = field(default_factory=dict)
    lost: str = ""

    @property
    def drained(self) -> bool:
        return not self.lost and not any(open_runs.any for open_runs in self.left.values())


class Promotion:
    """One promotion. `say` gets lines about how far it is."""

    def __init__(self, deployment: Deployment, plan: PromotionPlan, say: Callable[[str], None]) -> None:
        self._deployment = deployment
        self._plan = plan
        self._say = say
        self._told: dict[str, float] = {}
        self._taken: dict[str, float] = {}

    async def run(self) -> Promoted:
        """Raises `Misconfigured` if no worker polls for the version and `Unavailable` without Temporal, both before
        anything has changed; `Conflict` if another version is promoted at the same time.
        """
        plan = self._plan
        before = current_of(await self._deployment.info())
        await self._await_workers()
        await self._switch(before)
        promoted = Promoted(plan.build_id, before)
        ends = time.monotonic() + max(plan.wait_drained_s, SETTLE_S)
        while True:
            try:
                await self._move(promoted)
            except Unavailable as error:
                if time.monotonic() > ends:
                    promoted.lost = error.message
                    return promoted
            else:
                if promoted.drained or time.monotonic() > ends:
                    return promoted
            await asyncio.sleep(PAUSE_S)

    async def _move(self, promoted: Promoted) -> None:
        """Once through everything that is open elsewhere."""
        plan, info = self._plan, await self._deployment.info()
        if current_of(info) != plan.build_id:
            raise Conflict(f"{named(current_of(info))} was promoted meanwhile; {plan.name} is not current")
        builds = [one for one in builds_of(info) if one != plan.build_id]
        promoted.told += await self._tell(builds)
        promoted.taken_over += await self._take_over(builds)
        promoted.left = {one: await self._deployment.open_runs(one) for one in builds}

    async def _await_workers(self) -> None:
        plan, ends = self._plan, time.monotonic() + self._plan.wait_workers_s
        told = False
        while missing := await self._deployment.unpolled(plan.build_id, plan.queues):
            if time.monotonic() > ends:
                raise Misconfigured(
                    f"no worker of {plan.name} polls {', '.join(missing)}; start its workers, then promote it"
                )
            if not told:
                self._say(f"waiting for workers of {plan.name} on {', '.join(missing)}")
                told = True
            await asyncio.sleep(PAUSE_S)

    async def _switch(self, before: str) -> None:
        """A worker that has just begun to poll is not known to the whole server at once."""
        plan, ends = self._plan, time.monotonic() + self._plan.wait_workers_s
        while before != plan.build_id:
            try:
                with answered():
                    await self._deployment.make_current(plan.build_id)
                break
            except Unavailable:  # the server bounds how often versions may change
                if time.monotonic() > ends:
                    raise
            except RPCError as error:
                if error.status not in _NOT_YET:
                    raise
                if time.monotonic() > ends:
                    raise Misconfigured(f"{plan.name} cannot become current: {error.message}") from error
            await asyncio.sleep(PAUSE_S)
        await self._await_spread()
        self._say(
            f"{plan.name} is current" + ("" if before == plan.build_id else f", before: {named(before)}")
        )

    async def _await_spread(self) -> None:
        """A conversation that renews before its queue knows of the switch would stay where it is."""
        ends = time.monotonic() + SPREAD_S
        under_way = RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_IN_PROGRESS
        while time.monotonic() < ends:
            with suppress(Unavailable):
                if (await self._deployment.info()).routing_config_update_state != under_way:
                    return
            await asyncio.sleep(PAUSE_S)

    async def _tell(self, builds: list[str]) -> int:
        """Let every conversation that is pinned to one of these versions begin a new run."""
        told = 0
        for build_id in builds:
            async for run in self._deployment.runs_on(build_id, conversations_only=True):
                if self._lately(self._told, run):
                    continue
                told += await self._deployment.renew(run)
                if told % SAY_EVERY == 1:
                    self._say(f"moving conversations from {build_id}: {told} told")
                await self._pace()
        return told

    async def _take_over(self, builds: list[str]) -> int:
        """Runs of versions that no worker polls for any more would wait for ever."""
        plan, taken = self._plan, 0
        workers = await self._deployment.workers(gone_after_s=plan.gone_after_s)
        for build_id in builds:
            if workers.get(build_id):
                continue
            async for run in self._deployment.runs_on(build_id, conversations_only=False):
                if self._lately(self._taken, run):
                    continue
                if not taken:
                    self._say(f"{build_id} has no workers any more: {plan.name} takes its runs over")
                taken += await self._deployment.take_over(run, plan.build_id)
                await self._pace()
        return taken

    async def _pace(self) -> None:
        await asyncio.sleep(1 / self._plan.rate)

    @staticmethod
    def _lately(marks: dict[str, float], run: WorkflowExecution) -> bool:
        """Whether this run has been seen to already; marks it."""
        now = time.monotonic()
        if now - marks.get(run.run_id, -TOLD_AGAIN_S) < TOLD_AGAIN_S:
            return True
        marks[run.run_id] = now
        return False


def named(build_id: str) -> str:
    return f"version {build_id}" if build_id != UNVERSIONED else "the workers without a version"
