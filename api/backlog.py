"""What waits at the moment: tasks at Temporal that no worker has taken, replies that have not left, dead letters."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

from portico.contracts import names
from portico.logs import logger

KINDS = {
    "workflow": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    "activity": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
}
TIMEOUT = timedelta(seconds=2)

log = logger("metrics")


@dataclass(frozen=True)
class Backlog:
    """Of one queue: how many tasks wait for a worker, for how long the first, and how many workers ask for them."""

    queue: str
    kind: str
    tasks: int
    age_s: float
    pollers: int


async def backlogs(temporal: Client, *, split: bool) -> tuple[Backlog, ...]:
    """Of all queues, about (the server counts as it goes). Nothing while Temporal does not answer."""
    wanted = [(queue, kind) for queue in (names.QUEUES if split else names.QUEUES[:1]) for kind in KINDS]
    try:
        async with asyncio.timeout(TIMEOUT.total_seconds() + 1):
            return tuple(await asyncio.gather(*(_backlog(temporal, *one) for one in wanted)))
    except (RPCError, RuntimeError, TimeoutError) as error:
        log.info("metrics.no_backlog", cause=type(error).__name__)
        return ()


async def _backlog(temporal: Client, queue: str, kind: str) -> Backlog:
    request = DescribeTaskQueueRequest(
        namespace=temporal.namespace,
        task_queue=TaskQueue(name=queue),
        task_queue_type=KINDS[kind],
        report_stats=True,
    )
    answer = await temporal.workflow_service.describe_task_queue(request, timeout=TIMEOUT)
    age = answer.stats.approximate_backlog_age.ToTimedelta().total_seconds()
    return Backlog(queue, kind, answer.stats.approximate_backlog_count, age, len(answer.pollers))
