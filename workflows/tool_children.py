"""Starts runs of tools as abandoned children: they outlive every continue-as-new and report by signal."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pydantic import JsonValue
from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from portico.contracts.messages import ToolInvocation
    from portico.contracts.steps import ToolRunInput
    from portico.ids import tool_run_id
    from workflows.delivery import Desk
    from workflows.state import Open, OpenTool, QueuedTurn
    from workflows.tool_run import ToolRun


@dataclass(frozen=True)
class Start:
    """One call: the `number`-th of its turn. `call_id` is the model's, where a model asked."""

    tool: str
    parameters: dict[str, JsonValue]
    number: int = 0
    call_id: str = ""

    def invocation_id(self, turn: QueuedTurn) -> str:
        return tool_run_id(turn.turn_id, self.number)


async def start_tools(
    desk: Desk, opened: Open, turn: QueuedTurn, starts: tuple[Start, ...], *, language: str
) -> None:
    """Returns once all have started. What could not be started is not open any more."""
    for start in starts:
        tool = _open_tool(turn, start, language=language)
        opened.tools[tool.invocation_id] = tool
    await asyncio.gather(*(_start(desk, turn, start, opened=opened, language=language) for start in starts))


async def cancel_tool(invocation_id: str) -> None:
    """Ask a tool run to stop. One that has just ended cannot be cancelled any more: its report is on its way."""
    try:
        await workflow.get_external_workflow_handle(invocation_id).cancel()
    except FailureError as error:
        if is_cancelled_exception(error):
            raise
        workflow.logger.info("tool.not_cancelled", extra={"invocation": invocation_id})


def _open_tool(turn: QueuedTurn, start: Start, *, language: str) -> OpenTool:
    return OpenTool(
        invocation_id=start.invocation_id(turn),
        tool_name=start.tool,
        turn_id=turn.turn_id,
        quotes=turn.message.id,
        actor=turn.actor,
        language=language,
        group=turn.message.group,
        envelope=turn.envelope if not start.call_id else None,
        call_id=start.call_id,
    )


async def _start(desk: Desk, turn: QueuedTurn, start: Start, *, opened: Open, language: str) -> None:
    invocation_id = start.invocation_id(turn)
    started = False
    try:
        await workflow.start_child_workflow(
            ToolRun.run,
            ToolRunInput(
                invocation_id=invocation_id,
                invocation=ToolInvocation(tool_name=start.tool, parameters=start.parameters),
                actor=turn.actor,
                conversation=desk.conversation,
                turn_id=turn.turn_id,
                quotes=turn.message.id,
                language=language,
                report_to=workflow.info().workflow_id,
                split_queues=desk.split_queues,
                door="chat",
            ),
            id=invocation_id,
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            static_summary=f"{start.tool} for turn {turn.turn_id[:8]}",
        )
        started = True
    finally:
        if not started:
            opened.tools.pop(invocation_id, None)
