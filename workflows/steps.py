"""The activities of one conversation as plain methods, with their options.

Sub-second repeatable steps run as local activities. One that fails as retryable runs again as a regular
activity with unlimited retries: that is where a turn waits for a part, while timers, signals and `/stop` live.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ChildWorkflowError,
    FailureError,
    is_cancelled_exception,
)

with workflow.unsafe.imports_passed_through():
    from activities.authorize import AuthorizeSteps
    from activities.collect import CollectSteps
    from activities.dead_letters import DeadLetterSteps
    from activities.deliver import DeliverSteps
    from activities.generate import GenerateSteps
    from activities.normalize import NormalizeSteps
    from activities.offer_tools import OfferSteps
    from activities.pairing import PairingSteps
    from activities.remember import RememberSteps
    from activities.retrieve import RetrieveSteps
    from activities.understand import UnderstandSteps
    from portico.contracts import names
    from portico.contracts.messages import Actor, Attachment, ConversationRef, Decision, Envelope, Message
    from portico.contracts.steps import (
        Collected,
        CollectInput,
        DeadLetterInput,
        Delivered,
        DeliverInput,
        EgressAnswer,
        EgressQuestion,
        Generated,
        GenerateInput,
        InboundAnswer,
        InboundQuestion,
        ModelAnswer,
        ModelQuestion,
        Normalized,
        NormalizeInput,
        PairingAnswer,
        PairingInput,
        RememberInput,
        Retrieved,
        RetrieveInput,
        UnderstandInput,
        Understood,
    )
    from portico.contracts.tool_steps import (
        ApprovalQuestion,
        LookUpAnswer,
        LookUpQuestion,
        OfferAnswer,
        OfferQuestion,
    )
    from workflows import options

Input = TypeVar("Input")
Output = TypeVar("Output")
Activity = Callable[[Any, Input], Awaitable[Output]]
"""A method of a class of activities: the worker binds it, workflow code names it."""


class GivenUp(Exception):
    """A person stopped the turn while it waited for a part that is unavailable."""


@dataclass(frozen=True)
class Patience:
    """How a turn waits: a notice when it takes long, and a check whether it was stopped."""

    tell: Callable[[], Awaitable[None]]
    given_up: Callable[[], bool]

    async def wait_for(self, handle: workflow.ActivityHandle[Any]) -> None:
        """Returns when it is done, or given up. The activity itself goes on."""
        try:
            await workflow.wait_condition(
                lambda: handle.done() or self.given_up(), timeout=options.NOTICE_AFTER
            )
        except TimeoutError:
            await self.tell()
            await workflow.wait_condition(lambda: handle.done() or self.given_up())


async def step(
    activity: Activity[Input, Output], inputs: Input, *, summary: str, patience: Patience | None = None
) -> Output:
    """Run a step as a local activity; if its part is unavailable, retry as a regular one. Raises `GivenUp`."""
    try:
        # No summary here: the history UI shows none for local activities, and each is one more payload to encrypt.
        return await workflow.execute_local_activity_method(
            activity,
            inputs,
            schedule_to_close_timeout=options.LOCAL_SCHEDULE_TO_CLOSE,
            retry_policy=options.LOCAL_ATTEMPTS,
        )
    except FailureError as error:
        if is_cancelled_exception(error) or is_final(error):
            raise
    return await _patiently(activity, inputs, summary=summary, patience=patience)


def is_final(error: FailureError) -> bool:
    """Whether trying the same step again is useless."""
    cause = cause_of(error)
    return isinstance(cause, ApplicationError) and cause.non_retryable


def cause_of(error: BaseException) -> BaseException:
    """What an activity raised. The SDK wraps it for a regular activity, and for a local one it does not."""
    while isinstance(error, ActivityError | ChildWorkflowError) and error.cause is not None:
        error = error.cause
    return error


async def _patiently(
    activity: Activity[Input, Output], inputs: Input, *, summary: str, patience: Patience | None
) -> Output:
    waiting = workflow.start_activity_method(
        activity,
        inputs,
        start_to_close_timeout=options.STEP_START_TO_CLOSE,
        retry_policy=options.PATIENT,
        summary=f"{summary} (waiting)",
    )
    if patience is not None:
        await patience.wait_for(waiting)
        if not waiting.done():
            waiting.cancel()
            raise GivenUp
    return await waiting


class Steps:
    """Every step of a conversation's turns. Summaries name the turn, so that the history reads as its story."""

    def __init__(self, conversation: ConversationRef, *, split_queues: bool) -> None:
        self.conversation = conversation
        self._split = split_queues

    async def normalize(self, turn_id: str, envelope: Envelope) -> Normalized:
        inputs = NormalizeInput(conversation=self.conversation, turn_id=turn_id, envelope=envelope)
        return await step(NormalizeSteps.normalize, inputs, summary=_summary(turn_id, "arrived"))

    async def authorize_inbound(self, turn_id: str, message: Message) -> InboundAnswer:
        inputs = InboundQuestion(conversation=self.conversation, message=message, decision_id=new_id())
        return await step(AuthorizeSteps.authorize_inbound, inputs, summary=_summary(turn_id, "may it pass?"))

    async def offer_pairing(self, turn_id: str, message: Message) -> PairingAnswer:
        inputs = PairingInput(conversation=self.conversation, message=message)
        return await step(PairingSteps.offer_pairing, inputs, summary=_summary(turn_id, "pairing code"))

    async def redeem_pairing(self, turn_id: str, message: Message) -> PairingAnswer:
        inputs = PairingInput(conversation=self.conversation, message=message)
        return await step(PairingSteps.redeem_pairing, inputs, summary=_summary(turn_id, "pairing link"))

    async def understand(self, turn_id: str, message: Message, *, patience: Patience) -> Understood:
        inputs = UnderstandInput(turn_id=turn_id, text=message.text, locale=message.locale)
        return await step(
            UnderstandSteps.understand,
            inputs,
            summary=_summary(turn_id, "what is meant?"),
            patience=patience,
        )

    async def retrieve(self, turn_id: str, *, patience: Patience) -> Retrieved:
        inputs = RetrieveInput(conversation=self.conversation)
        return await step(
            RetrieveSteps.retrieve,
            inputs,
            summary=_summary(turn_id, "what was said before"),
            patience=patience,
        )

    async def authorize_model(
        self,
        turn_id: str,
        actor: Actor,
        *,
        group: bool,
        patience: Patience,
        pinned: str = "",
        intent: str = "",
    ) -> ModelAnswer:
        inputs = ModelQuestion(
            conversation=self.conversation,
            actor=actor,
            decision_id=new_id(),
            group=group,
            pinned=pinned,
            intent=intent,
        )
        return await step(
            AuthorizeSteps.authorize_model,
            inputs,
            summary=_summary(turn_id, "which model may answer?"),
            patience=patience,
        )

    async def offer_tools(
        self, turn_id: str, actor: Actor, *, group: bool, patience: Patience
    ) -> OfferAnswer:
        inputs = OfferQuestion(conversation=self.conversation, actor=actor, decision_id=new_id(), group=group)
        return await step(
            OfferSteps.offer_tools,
            inputs,
            summary=_summary(turn_id, "which tools may be used?"),
            patience=patience,
        )

    async def look_up_tool(self, turn_id: str, inputs: LookUpQuestion, *, patience: Patience) -> LookUpAnswer:
        return await step(
            OfferSteps.look_up_tool,
            inputs,
            summary=_summary(turn_id, "which tool is meant?"),
            patience=patience,
        )

    async def authorize_approval(
        self, turn_id: str, actor: Actor, *, group: bool, invocation_id: str
    ) -> Decision:
        inputs = ApprovalQuestion(
            conversation=self.conversation,
            actor=actor,
            invocation_id=invocation_id,
            decision_id=new_id(),
            group=group,
        )
        verdict = await step(
            OfferSteps.authorize_approval, inputs, summary=_summary(turn_id, "may they say yes?")
        )
        return verdict.decision

    def generate(
        self, inputs: GenerateInput, *, others_remain: bool = False
    ) -> workflow.ActivityHandle[Generated]:
        """Started, not awaited: `/stop` cancels the handle. Where other routes remain it is tried briefly only."""
        return workflow.start_activity_method(
            GenerateSteps.generate,
            inputs,
            task_queue=options.queue(names.INFERENCE_QUEUE, split=self._split),
            start_to_close_timeout=options.GENERATE_START_TO_CLOSE,
            heartbeat_timeout=options.GENERATE_HEARTBEAT,
            retry_policy=options.GENERATE_BRIEFLY if others_remain else options.GENERATE_ATTEMPTS,
            cancellation_type=workflow.ActivityCancellationType.TRY_CANCEL,
            summary=_summary(inputs.turn_id, f"{inputs.route.name} writes"),
        )

    async def collect(self, turn_id: str, attachments: tuple[Attachment, ...]) -> Collected:
        return await workflow.execute_activity_method(
            CollectSteps.collect,
            CollectInput(conversation=self.conversation, attachments=attachments),
            task_queue=options.queue(names.DELIVERY_QUEUE, split=self._split),
            start_to_close_timeout=options.COLLECT_START_TO_CLOSE,
            heartbeat_timeout=options.GENERATE_HEARTBEAT,
            retry_policy=options.COLLECT_ATTEMPTS,
            summary=_summary(turn_id, "fetch attachments"),
        )

    async def authorize_egress(self, turn_id: str, question: EgressQuestion) -> EgressAnswer:
        return await step(
            AuthorizeSteps.authorize_egress, question, summary=_summary(turn_id, "may it leave?")
        )

    async def deliver(self, inputs: DeliverInput) -> Delivered:
        """Returns when it is sent, refused or unknown. Waits for an exhausted rate by a timer."""
        while True:
            delivered = await workflow.execute_activity_method(
                DeliverSteps.deliver,
                inputs,
                task_queue=options.queue(names.DELIVERY_QUEUE, split=self._split),
                start_to_close_timeout=options.DELIVER_START_TO_CLOSE,
                heartbeat_timeout=options.DELIVER_HEARTBEAT,
                retry_policy=options.DELIVERY_PATIENCE,
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
                summary=_summary(inputs.turn_id, f"deliver the {inputs.kind}"),
            )
            if delivered.outcome != "wait":
                return delivered
            await workflow.sleep(delivered.wait_s)

    async def remember(self, inputs: RememberInput) -> None:
        await step(RememberSteps.remember, inputs, summary=_summary(inputs.turn_id, "remember"))

    async def record_dead_letter(self, inputs: DeadLetterInput) -> None:
        await step(
            DeadLetterSteps.record_dead_letter, inputs, summary=_summary(inputs.turn_id, "dead letter")
        )


def new_id() -> str:
    """A random id that a replay makes again."""
    return workflow.uuid4().hex


def _summary(turn_id: str, what: str) -> str:
    return f"{turn_id[:8]} · {what}"
