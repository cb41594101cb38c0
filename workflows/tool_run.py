"""One run of a tool: decide, wait for a yes where one is needed, execute, report, post. Its parent abandons it."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

from temporalio import exceptions, workflow
from temporalio.exceptions import ApplicationError, FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.authorize import AuthorizeSteps
    from activities.callback import CallbackSteps
    from portico.contracts import names
    from portico.contracts.messages import Effect, ExecutionError, ExecutionResult, ExecutionStatus
    from portico.contracts.steps import (
        CallbackAnswer,
        CallbackInput,
        CallbackQuestion,
        ToolAnswer,
        ToolCall,
        ToolOutcome,
        ToolProgress,
        ToolQuestion,
        ToolRunInput,
    )
    from portico.contracts.tool_steps import ApprovalAnswer, ToolWaiting
    from workflows import options
    from workflows.steps import cause_of, new_id, step

STEP_FAILED, INTERRUPTED = "step_failed", "interrupted"
"""Codes of results that are our own failure, not the tool's: the conversation keeps a dead letter of them."""
WORKER_GONE = "WorkerShutdown"
"""What the SDK calls the end of an activity whose worker went away in good order."""
UNNAMED = "execute_tool"
"""What every activity of a tool was called in the first histories; later ones have the tool's own name."""
SHOWN = 1000


@workflow.defn(name=names.TOOL_RUN)
class ToolRun:
    """Authorize → approve → execute → report → callback."""

    @workflow.init
    def __init__(self, given: ToolRunInput) -> None:
        self._given = given
        self._state = ToolProgress(tool_name=given.invocation.tool_name)
        self._answer: ApprovalAnswer | None = None
        self._result: ExecutionResult | None = None
        self._repeatable = False

    @workflow.run
    async def run(self, given: ToolRunInput) -> ExecutionResult:
        started_at = workflow.now()
        try:
            result = await self._decide_and_execute(given)
        except (FailureError, asyncio.CancelledError) as error:
            result = _ended_badly(given, error, repeatable=self._repeatable)
        result = result.model_copy(update={"started_at": started_at, "ended_at": workflow.now()})
        self._enter("ended")
        self._result = result
        await self._report(given, result)
        if given.invocation.callback_url is not None:
            await self._call_back(given, result)
        return result

    # --- what others ask and say --------------------------------------------------------------------------

    @workflow.query(name=names.PROGRESS)
    def progress(self) -> ToolProgress:
        """Where it stands. How far the function is, comes with the activity's heartbeat."""
        return self._state

    @workflow.query(name=names.RESULT)
    def result(self) -> ExecutionResult | None:
        """Known before the run ends, which it does when the result has been posted, too."""
        return self._result

    @workflow.query(name=names.INVOKER)
    def invoker(self) -> str:
        """Whose run it is."""
        return self._given.actor.id

    @workflow.update(name=names.DECIDE_APPROVAL)
    def decide_approval(self, answer: ApprovalAnswer) -> None:
        """A person's yes or no at the edge. Whether theirs counts, policy says next."""
        self._answer = answer

    @decide_approval.validator
    def _is_waiting(self, answer: ApprovalAnswer) -> None:
        if not self._awaits_answer():
            raise ApplicationError("no approval is waited for", type="conflict")

    @workflow.signal(name=names.APPROVAL_GIVEN)
    def approval_given(self, answer: ApprovalAnswer) -> None:
        """The same from a conversation. A second answer comes too late."""
        if self._awaits_answer():
            self._answer = answer

    def _awaits_answer(self) -> bool:
        return self._state.waiting is not None and self._answer is None

    # --- the run ------------------------------------------------------------------------------------------

    async def _decide_and_execute(self, given: ToolRunInput) -> ExecutionResult:
        answer = await self._ask_policy(given)
        refusal = _refusal(given, answer)
        if refusal is not None:
            return refusal
        if answer.decision.effect is Effect.ASK:
            approved = await self._approved(given, answer)
            if isinstance(approved, ExecutionResult):
                return approved
            answer = approved
        return await self._execute(given, answer)

    async def _ask_policy(
        self, given: ToolRunInput, *, approval: ApprovalAnswer | None = None, first: ToolAnswer | None = None
    ) -> ToolAnswer:
        question = ToolQuestion(
            invocation_id=given.invocation_id,
            invocation=given.invocation,
            actor=given.actor,
            conversation=given.conversation,
            decision_id=new_id(),
            approved_by=approval.by if approval else None,
            approved_hash=first.params_hash if first else "",
            approved_content_hash=first.content_hash if first else "",
        )
        name = given.invocation.tool_name
        answer: ToolAnswer = await step(AuthorizeSteps.authorize_tool, question, summary=f"may {name} run?")
        return answer

    async def _approved(self, given: ToolRunInput, first: ToolAnswer) -> ToolAnswer | ExecutionResult:
        """Wait for a person, then decide again about exactly what they were shown."""
        waiting = _waiting(given, first, now=workflow.now().timestamp())
        self._state = ToolProgress(
            state="waiting",
            tool_name=given.invocation.tool_name,
            updated_at=workflow.now().timestamp(),
            waiting=waiting,
        )
        if given.report_to:
            await self._signal(given, names.TOOL_WAITS, waiting)
        try:
            await workflow.wait_condition(
                lambda: self._answer is not None,
                timeout=timedelta(seconds=_patience_s(given, first)),
            )
        except TimeoutError:
            return _denied(given, first, "approval_expired", "nobody agreed in time")
        finally:
            self._enter("deciding")
        approval = self._answer
        if approval is None or not approval.approved:
            return _denied(given, first, "denied", "a person said no")
        second = await self._ask_policy(given, approval=approval, first=first)
        if second.known and (second.content_hash, second.params_hash) != (
            first.content_hash,
            first.params_hash,
        ):
            return _result(
                given, ExecutionStatus.FAILED, "tool_changed", "the tool has changed since it was agreed to"
            )
        if second.decision.effect is Effect.ASK:
            return _denied(given, second, "denied", "who agreed may not decide this")
        return _refusal(given, second) or second

    async def _execute(self, given: ToolRunInput, answer: ToolAnswer) -> ExecutionResult:
        name = given.invocation.tool_name
        call = ToolCall(
            invocation_id=given.invocation_id,
            invocation=given.invocation,
            decision_id=answer.decision.decision_id,
            actor=given.actor,
            language=given.language,
            timeout_s=answer.timeout_s,
            content_hash=answer.content_hash,
            repeatable=answer.repeatable,
            network=answer.network,
            conversation=given.conversation,
        )
        self._enter("running")
        self._repeatable = answer.repeatable
        result: ExecutionResult = await workflow.execute_activity(
            name if answer.content_hash else UNNAMED,
            call,
            result_type=ExecutionResult,
            task_queue=options.queue(names.TOOLS_QUEUE, split=given.split_queues),
            start_to_close_timeout=timedelta(seconds=answer.timeout_s) + options.TOOL_SPARE,
            heartbeat_timeout=options.TOOL_HEARTBEAT,
            retry_policy=options.TOOL_ATTEMPTS if answer.repeatable else options.ONCE,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=f"run {name}",
        )
        return result

    async def _report(self, given: ToolRunInput, result: ExecutionResult) -> None:
        if given.report_to:
            outcome = ToolOutcome(invocation_id=given.invocation_id, turn_id=given.turn_id, result=result)
            await self._signal(given, names.TOOL_FINISHED, outcome)

    async def _signal(self, given: ToolRunInput, name: str, about: ToolOutcome | ToolWaiting) -> None:
        """By workflow id without a run id: the conversation may have continued as new meanwhile."""
        conversation = workflow.get_external_workflow_handle(given.report_to)
        # A cancelled run still reports: the shield keeps the signal out of the cancelled scope.
        await asyncio.shield(conversation.signal(name, about))

    async def _call_back(self, given: ToolRunInput, result: ExecutionResult) -> None:
        """Post the result where it was asked for. However that ends, the result stays what it is."""
        url = given.invocation.callback_url or ""
        try:
            allowed: CallbackAnswer = await step(
                CallbackSteps.authorize_callback,
                CallbackQuestion(
                    invocation_id=given.invocation_id,
                    url=url,
                    actor=given.actor,
                    conversation=given.conversation,
                    decision_id=new_id(),
                ),
                summary="may the result be posted?",
            )
            if not allowed.decision.allowed:
                return
            await workflow.execute_activity_method(
                CallbackSteps.post_callback,
                CallbackInput(
                    invocation_id=given.invocation_id,
                    url=url,
                    result=result,
                    decision_id=allowed.decision.decision_id,
                ),
                task_queue=options.queue(names.DELIVERY_QUEUE, split=given.split_queues),
                start_to_close_timeout=options.CALLBACK_START_TO_CLOSE,
                schedule_to_close_timeout=options.CALLBACK_WHOLE,
                retry_policy=options.CALLBACK_ATTEMPTS,
                summary="post the result",
            )
        except (FailureError, asyncio.CancelledError):
            workflow.logger.warning("callback.given_up", extra={"invocation": given.invocation_id})

    def _enter(self, state: str) -> None:
        self._state = ToolProgress(
            state=state, tool_name=self._given.invocation.tool_name, updated_at=workflow.now().timestamp()
        )


def _patience_s(given: ToolRunInput, answer: ToolAnswer) -> float:
    """How long a yes is waited for: what the settings say, unless who started it waits less."""
    return min(answer.approval_s or given.approval_s, given.approval_s)


def _waiting(given: ToolRunInput, answer: ToolAnswer, *, now: float) -> ToolWaiting:
    parameters = json.dumps(given.invocation.parameters, ensure_ascii=False, indent=1, sort_keys=True)
    return ToolWaiting(
        invocation_id=given.invocation_id,
        turn_id=given.turn_id,
        tool_name=given.invocation.tool_name,
        parameters_shown=parameters if len(parameters) <= SHOWN else parameters[:SHOWN] + " …",
        params_hash=answer.params_hash,
        expires_at=now + _patience_s(given, answer),
        self_approval=answer.decision.obliges("self_approval"),
        effects=answer.effects,
        risk=answer.risk,
        reasons=answer.decision.reasons,
    )


def _refusal(given: ToolRunInput, answer: ToolAnswer) -> ExecutionResult | None:
    """Why it ends here; nothing where it may go on, if only after a person's yes."""
    if not answer.known:
        return _result(given, ExecutionStatus.FAILED, "unknown_tool", "there is no such tool")
    if answer.decision.effect is Effect.DENY:
        return _denied(given, answer, "denied", "; ".join(answer.decision.reasons))
    if answer.unavailable:
        return _result(given, ExecutionStatus.FAILED, "unavailable", answer.unavailable)
    return None


def _denied(given: ToolRunInput, answer: ToolAnswer, code: str, reason: str) -> ExecutionResult:
    refused = _result(given, ExecutionStatus.DENIED, code, reason)
    return refused.model_copy(update={"decision_id": answer.decision.decision_id})


def _ended_badly(given: ToolRunInput, error: BaseException, *, repeatable: bool) -> ExecutionResult:
    if is_cancelled_exception(error):
        return _result(given, ExecutionStatus.CANCELLED, "cancelled", "stopped by a person")
    cause = cause_of(error)
    lost = isinstance(cause, exceptions.TimeoutError) or (
        isinstance(cause, ApplicationError) and cause.type in (INTERRUPTED, WORKER_GONE)
    )
    if lost:
        # Repeatable calls were retried in vain; the outcome of any other call is unknown.
        status = ExecutionStatus.INTERRUPTED if repeatable else ExecutionStatus.UNKNOWN
        return _result(given, status, INTERRUPTED, "it did not report its end")
    message = cause.message if isinstance(cause, ApplicationError) else "it failed"
    return _result(given, ExecutionStatus.FAILED, STEP_FAILED, message)


def _result(given: ToolRunInput, status: ExecutionStatus, code: str, message: str) -> ExecutionResult:
    return ExecutionResult(
        invocation_id=given.invocation_id,
        tool_name=given.invocation.tool_name,
        status=status,
        error=ExecutionError(code=code, message=message),
    )
