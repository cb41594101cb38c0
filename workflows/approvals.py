"""A tool run that waits for a person's yes: the conversation asks, and takes the answer at once."""

from __future__ import annotations

import re

from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from portico.contracts import names
    from portico.contracts.messages import (
        ADMIN_ROLES,
        Actor,
        Choice,
        ChoicesPart,
        Message,
        Part,
        Reply,
        TextPart,
    )
    from portico.contracts.tool_steps import ApprovalAnswer, ToolWaiting
    from workflows import decide, replies
    from workflows.commands import ApprovalWord
    from workflows.delivery import Desk
    from workflows.state import Open, OpenApproval, OpenTool

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels: a code is no word."""
CODE_LENGTH = 6
_RUN = re.compile(r"tool-[A-Za-z0-9-]{1,80}")


class Approvals:
    """Approval codes of runs; each is answered once, and a late answer gets the outcome."""

    def __init__(self, desk: Desk, opened: Open) -> None:
        self._desk = desk
        self._open = opened

    async def ask(self, waiting: ToolWaiting) -> None:
        """Ask where the tool was asked for. A run that has ended, or was asked about, needs nothing."""
        tool = self._open.tools.get(waiting.invocation_id)
        if tool is None or any(
            one.invocation_id == waiting.invocation_id for one in self._open.approvals.values()
        ):
            return
        approval = OpenApproval(
            code=_new_code(),
            invocation_id=waiting.invocation_id,
            tool_name=waiting.tool_name,
            expires_at=waiting.expires_at,
            self_approval=waiting.self_approval,
            asked_at=workflow.now().timestamp(),
        )
        self._open.approvals[approval.code] = approval
        await self._desk.within_boundary(
            self._ask(tool, waiting, approval), turn_id=tool.turn_id, envelope=None
        )

    async def answer(self, turn_id: str, message: Message, actor: Actor, word: ApprovalWord) -> str:
        """What to tell the person who answered."""
        language = decide.language_of(message)
        found = self._found(word.code)
        if found is None:
            return await self._answer_elsewhere(turn_id, message, actor, word)
        if isinstance(found, str):
            return replies.text(f"approval_{found}", language)
        now = workflow.now().timestamp()
        if found.expires_at and now >= found.expires_at:
            self._open.settle(found, "ended", now=now)
            return replies.text("approval_ended", language)
        decided_by = await self._may(turn_id, message, actor, word, found)
        if decided_by is None:
            return replies.text("approval_not_yours", language)
        if found.code not in self._open.approvals:  # answered by another person meanwhile
            return await self.answer(turn_id, message, actor, word)
        self._open.settle(found, "approved" if word.approved else "denied", now=now)
        return await self._tell(found.invocation_id, actor, word, decided_by, found.tool_name, language)

    def _found(self, code: str) -> OpenApproval | str | None:
        """The open approval of a code or run; how it ended; nothing where this conversation knows none."""
        wanted = code.upper()
        for approval in self._open.approvals.values():
            if wanted == approval.code or code == approval.invocation_id:
                return approval
        for settled in reversed(self._open.settled):
            if wanted == settled.code or code == settled.invocation_id:
                return settled.how
        return None

    async def _may(
        self, turn_id: str, message: Message, actor: Actor, word: ApprovalWord, approval: OpenApproval
    ) -> str | None:
        """The id of the decision that lets this person answer (none is needed to refuse what is one's own)."""
        tool = self._open.tools.get(approval.invocation_id)
        own = tool is not None and bool(actor.id) and tool.actor.id == actor.id
        if own and (approval.self_approval or not word.approved):
            return ""
        decision = await self._desk.steps.authorize_approval(
            turn_id, actor, group=message.group, invocation_id=approval.invocation_id
        )
        return decision.decision_id if decision.allowed else None

    async def _answer_elsewhere(
        self, turn_id: str, message: Message, actor: Actor, word: ApprovalWord
    ) -> str:
        """A run of another conversation, named by its id: for who may approve anything."""
        language = decide.language_of(message)
        if not _RUN.fullmatch(word.code):
            return replies.text("approval_unknown", language, code=replies.shown(word.code))
        decision = await self._desk.steps.authorize_approval(
            turn_id, actor, group=message.group, invocation_id=word.code
        )
        if not decision.allowed:
            return replies.text("approval_not_yours", language)
        return await self._tell(word.code, actor, word, decision.decision_id, "", language)

    async def _tell(
        self, invocation_id: str, actor: Actor, word: ApprovalWord, decision_id: str, tool: str, language: str
    ) -> str:
        """By signal: a workflow cannot send an update to another one."""
        answer = ApprovalAnswer(approved=word.approved, by=actor, decision_id=decision_id)
        run = workflow.get_external_workflow_handle(invocation_id)
        try:
            await run.signal(names.APPROVAL_GIVEN, answer)
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            return replies.text("approval_ended", language)
        name = "approval_given" if word.approved else "approval_refused"
        return replies.text(name, language, tool=replies.shown(tool or invocation_id))

    async def _ask(self, tool: OpenTool, waiting: ToolWaiting, approval: OpenApproval) -> None:
        text = replies.approval_text(
            waiting, approval.code, now=workflow.now().timestamp(), language=tool.language
        )
        may_answer = approval.self_approval or tool.actor.role in ADMIN_ROLES or tool.group
        part: Part
        if may_answer:
            part = ChoicesPart(text=text, choices=_choices(approval.code, tool.language))
        else:
            note = replies.text("approval_by_others", tool.language, run=approval.invocation_id)
            part = TextPart(text=f"{text}\n\n{note}")
        await self._desk.say(
            Reply(parts=(part,), quotes=tool.quotes if tool.group else ""),
            turn_id=tool.turn_id,
            actor=tool.actor,
            group=tool.group,
            # A run asks once; requests that wait for the first reply of a turn look for this name, too.
            slot=f"ask-{approval.invocation_id.rpartition('-')[2]}",
        )


def _choices(code: str, language: str) -> tuple[Choice, ...]:
    return (
        Choice(label=replies.text("yes", language), value=f"/approve {code}"),
        Choice(label=replies.text("no", language), value=f"/deny {code}"),
    )


def _new_code() -> str:
    """Random, and the same in a replay."""
    number = workflow.uuid4().int
    code = ""
    for _ in range(CODE_LENGTH):
        number, place = divmod(number, len(LETTERS))
        code += LETTERS[place]
    return code
