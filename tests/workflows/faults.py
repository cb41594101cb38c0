"""Activities that fail for real: an interceptor inside the activity boundary, so that an error goes the usual way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from portico.contracts.steps import ToolCall

TOOL = "execute_tool"
"""What the activities of all tools are called here."""

When = Callable[[Any], bool]


@dataclass
class Fault:
    """What happens to calls of one activity. `times` is None for as long as the fault stands."""

    error: BaseException | None
    times: int | None
    when: When
    met: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def applies(self, given: Any) -> bool:
        return (self.times is None or self.met < self.times) and self.when(given)


@dataclass(frozen=True)
class Called:
    name: str
    local: bool
    attempt: int
    given: Any


class Faults(Interceptor):
    """`fail`, `hang` and `clear` while a worker runs; `calls` is what was executed, in order."""

    def __init__(self) -> None:
        self.calls: list[Called] = []
        self._faults: dict[str, Fault] = {}

    def fail(
        self, name: str, error: BaseException, *, times: int | None = None, when: When = lambda given: True
    ) -> Fault:
        self._faults[name] = Fault(error=error, times=times, when=when)
        return self._faults[name]

    def hang(self, name: str, *, times: int | None = 1, when: When = lambda given: True) -> Fault:
        """Calls wait, heartbeating, until `released` is set or they are cancelled; then they go on."""
        self._faults[name] = Fault(error=None, times=times, when=when)
        return self._faults[name]

    def clear(self) -> None:
        for fault in self._faults.values():
            fault.released.set()
        self._faults.clear()

    def called(self, name: str) -> list[Called]:
        return [call for call in self.calls if call.name == name]

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Faulty(super().intercept_activity(next), self)

    async def strike(self, given: Any) -> None:
        info = activity.info()
        name = info.activity_type
        if isinstance(given, list | tuple):  # a tool's activity has the tool's name and takes what comes
            name, given = TOOL, activity.payload_converter().from_payload(given[0].payload, ToolCall)
        self.calls.append(Called(name, info.is_local, info.attempt, given))
        fault = self._faults.get(name)
        if fault is None or not fault.applies(given):
            return
        fault.met += 1
        fault.reached.set()
        if fault.error is not None:
            raise fault.error
        while not fault.released.is_set():
            if not info.is_local:
                activity.heartbeat()
            await _either(fault.released, 0.2)


class _Faulty(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, faults: Faults) -> None:
        super().__init__(next)
        self._faults = faults

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        await self._faults.strike(input.args[0])
        return await self.next.execute_activity(input)


async def _either(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
