"""One run of a tool: decide, execute, report. A child that its parent abandons, so that it outlives it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError, TimeoutError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.authorize import AuthorizeSteps
    from activities.tools import ToolSteps
    from portico.contracts import Effect, ExecutionError, ExecutionResult, ExecutionStatus
    from portico.steps import ToolAnswer, ToolCall, ToolOutcome, ToolQuestion, ToolRunInput
    from workflows import options
    from workflows.steps import cause_of, new_id, step

GRACE = timedelta(seconds=5)
STEP_FAILED, INTERRUPTED = "step_failed", "interrupted"
"""Codes of results that are our own failure, not the tool's: the conversation keeps a dead letter of them."""


@workflow.defn(name="ToolRun")
class ToolRun:
    """Authorize → execute → record → report."""

    @workflow.run
    async def run(self, given: ToolRunInput) -> ExecutionResult:
        started_at = workflow.now()
        try:
            result = await self._decide_and_execute(given)
        except (FailureError, asyncio.CancelledError) as error:
            result = _ended_badly(given, error)
        result = result.model_copy(update={"started_at": started_at, "ended_at": workflow.now()})
        await self._report(given, result)
        return result

    async def _decide_and_execute(self, given: ToolRunInput) -> ExecutionResult:
        question = ToolQuestion(
            invocation_id=given.invocation_id,
            invocation=given.invocation,
            actor=given.actor,
            conversation=given.conversation,
            decision_id=new_id(),
        )
        answer: ToolAnswer = await step(
            AuthorizeSteps.authorize_tool, question, summary=f"may {given.invocation.tool_name} run?"
        )
        refusal = _refusal(given, answer)
        return refusal or await self._execute(given, answer)

    async def _execute(self, given: ToolRunInput, answer: ToolAnswer) -> ExecutionResult:
        call = ToolCall(
            invocation_id=given.invocation_id,
            invocation=given.invocation,
            decision_id=answer.decision.decision_id,
            actor=given.actor,
            language=given.language,
            timeout_s=answer.timeout_s,
        )
        return await workflow.execute_activity_method(
            ToolSteps.execute,
            call,
            task_queue=options.queue(options.TOOLS_QUEUE, split=given.split_queues),
            start_to_close_timeout=timedelta(seconds=answer.timeout_s) + GRACE,
            heartbeat_timeout=options.TOOL_HEARTBEAT,
            retry_policy=options.TOOL_ATTEMPTS if answer.repeatable else options.ONCE,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=f"run {given.invocation.tool_name}",
        )

    async def _report(self, given: ToolRunInput, result: ExecutionResult) -> None:
        """By workflow id without a run id: the conversation may have continued as new meanwhile."""
        if not given.report_to:
            return
        outcome = ToolOutcome(invocation_id=given.invocation_id, turn_id=given.turn_id, result=result)
        conversation = workflow.get_external_workflow_handle(given.report_to)
        # A cancelled run still reports: the shield keeps the signal out of the cancelled scope.
        await asyncio.shield(conversation.signal("tool_finished", outcome))


def _refusal(given: ToolRunInput, answer: ToolAnswer) -> ExecutionResult | None:
    decision = answer.decision
    if not answer.known:
        return _result(given, ExecutionStatus.FAILED, "unknown_tool", "there is no such tool")
    if decision.effect is Effect.ALLOW:
        return None
    code = "approval_required" if decision.effect is Effect.ASK else "denied"
    reason = "approval_required" if decision.effect is Effect.ASK else "; ".join(decision.reasons)
    refused = _result(given, ExecutionStatus.DENIED, code, reason)
    return refused.model_copy(update={"decision_id": decision.decision_id})


def _ended_badly(given: ToolRunInput, error: BaseException) -> ExecutionResult:
    if is_cancelled_exception(error):
        return _result(given, ExecutionStatus.CANCELLED, "cancelled", "stopped by a person")
    cause = cause_of(error)
    if isinstance(cause, TimeoutError):
        return _result(given, ExecutionStatus.UNKNOWN, INTERRUPTED, "it did not report its end")
    message = cause.message if isinstance(cause, ApplicationError) else "it failed"
    return _result(given, ExecutionStatus.FAILED, STEP_FAILED, message)


def _result(given: ToolRunInput, status: ExecutionStatus, code: str, message: str) -> ExecutionResult:
    return ExecutionResult(
        invocation_id=given.invocation_id,
        tool_name=given.invocation.tool_name,
        status=status,
        error=ExecutionError(code=code, message=message),
    )
