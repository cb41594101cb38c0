"""Names that edge, operations and workflows share: workflow types, signals, queries, updates, task queues.

They are stored in histories and in running homes: a name never changes its meaning, and none is reused.
"""

from __future__ import annotations

from typing import Literal, get_args

CONVERSATION = "Conversation"
"""Workflow type: one chat, for ever. Started with `ConversationStart`, fed by `RECEIVE`."""
TOOL_RUN = "ToolRun"
"""Workflow type: one run of a tool. Started with `ToolRunInput`, returns `ExecutionResult`."""

RECEIVE = "receive"
"""Signal to a conversation: an `Envelope`, one event of a platform."""
TOOL_FINISHED = "tool_finished"
"""Signal to a conversation: a `ToolOutcome`."""
TOOL_WAITS = "tool_waits"
"""Signal to a conversation: a `ToolWaiting`, an approval that is needed."""
SETTLED = "settled"
"""Signal to a conversation, without arguments: no dead letter of it is open any more."""
RENEW = "renew"
"""Signal to a conversation, without arguments: continue as new at the next pause."""
TURNS = "turns"
"""Query of a conversation: the number of its turns."""

APPROVAL_GIVEN = "approval_given"
"""Signal to a tool run: an `ApprovalAnswer` from a conversation."""
DECIDE_APPROVAL = "decide_approval"
"""Update of a tool run: an `ApprovalAnswer` from the edge."""
PROGRESS = "progress"
"""Query of a tool run: a `ToolProgress`."""
RESULT = "result"
"""Query of a tool run: an `ExecutionResult`, or null while it runs."""
INVOKER = "invoker"
"""Query of a tool run: the id of the person who started it."""

Queue = Literal["portico", "portico-inference", "portico-tools", "portico-delivery"]
QUEUES: tuple[Queue, ...] = get_args(Queue)
"""Every task queue; a worker of a small installation polls the first one only."""
TASK_QUEUE, INFERENCE_QUEUE, TOOLS_QUEUE, DELIVERY_QUEUE = QUEUES
