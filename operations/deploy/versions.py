"""Versions of the worker as Temporal knows them: which is current, what still runs on which, who polls for it."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.deployment.v1 import WorkerDeploymentInfo
from temporalio.api.enums.v1 import TaskQueueType, WorkerDeploymentVersionStatus, WorkerVersioningMode
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeWorkerDeploymentRequest,
    SetWorkerDeploymentCurrentVersionRequest,
    UpdateWorkflowExecutionOptionsRequest,
)
from temporalio.client import Client
from temporalio.client import WorkflowExecution as OpenRun
from temporalio.common import (
    AutoUpgradeVersioningOverride,
    OneTimeVersioningOverride,
    WorkerDeploymentVersion,
)
from temporalio.service import RPCError, RPCStatusCode

from portico.contracts import names
from portico.errors import Unavailable

UNVERSIONED = ""
"""The build id of workers without a version, as the server writes it."""
GONE_AFTER_S = 90.0
"""A worker that waits for work asks again every minute: who has not for that long is not there."""
LOOKS, LOOK_PAUSE_S = 10, 1.0
"""The server bounds how often a deployment may be looked at, all callers together."""
_IDENTITY = "portico deploy"
_OPEN = "ExecutionStatus = 'Running'"
_AWAY = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.RESOURCE_EXHAUSTED)


@dataclass(frozen=True)
class OpenRuns:
    conversations: int = 0
    tool_runs: int = 0

    @property
    def any(self) -> bool:
        return bool(self.conversations or self.tool_runs)

    def __str__(self) -> str:
        return f"{_so_many(self.conversations, 'conversation')}, {_so_many(self.tool_runs, 'tool run')}"


@dataclass(frozen=True)
class WorkerVersion:
    """`status`: current, ramping, draining, drained or inactive. `workers`: how many poll which queue."""

    build_id: str
    status: str
    open: OpenRuns
    workers: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Versions:
    """`current` is empty while workers without a version get the work."""

    deployment: str
    current: str
    versions: tuple[WorkerVersion, ...]
    unversioned: OpenRuns


class Deployment:
    """All versions of one installation's workers. Raises `Unavailable` while Temporal is unavailable."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self.name = name

    async def look(self) -> Versions:
        """Everything about every version. Counts come from visibility, which is a moment behind."""
        info = await self.info()
        polled = await self.workers()
        return Versions(
            deployment=self.name,
            current=current_of(info),
            versions=tuple([await self._version(one, polled) for one in info.version_summaries]),
            unversioned=await self.open_runs(UNVERSIONED),
        )

    async def _version(
        self, summary: WorkerDeploymentInfo.WorkerDeploymentVersionSummary, polled: dict[str, dict[str, int]]
    ) -> WorkerVersion:
        build_id = summary.deployment_version.build_id
        status = WorkerDeploymentVersionStatus.Name(summary.status).rpartition("_")[2].lower()
        return WorkerVersion(build_id, status, await self.open_runs(build_id), polled.get(build_id, {}))

    async def info(self) -> WorkerDeploymentInfo:
        """Nothing in it where no versioned worker has ever polled."""
        request = DescribeWorkerDeploymentRequest(namespace=self._client.namespace, deployment_name=self.name)
        with answered():
            for tries_left in range(LOOKS, 0, -1):
                try:
                    answer = await self._client.workflow_service.describe_worker_deployment(request)
                    break
                except RPCError as error:
                    if error.status is RPCStatusCode.NOT_FOUND:
                        return WorkerDeploymentInfo(name=self.name)
                    if error.status is not RPCStatusCode.RESOURCE_EXHAUSTED or tries_left == 1:
                        raise
                await asyncio.sleep(LOOK_PAUSE_S)
        return answer.worker_deployment_info

    async def make_current(self, build_id: str) -> None:
        """For all task queues at once. Raises `RPCError` where the server refuses."""
        await self._client.workflow_service.set_worker_deployment_current_version(
            SetWorkerDeploymentCurrentVersionRequest(
                namespace=self._client.namespace,
                deployment_name=self.name,
                build_id=build_id,
                identity=_IDENTITY,
            )
        )

    # --- what is open -------------------------------------------------------------------------------------

    async def open_runs(self, build_id: str) -> OpenRuns:
        here = self._on(build_id)
        return OpenRuns(
            conversations=await self._count(f"WorkflowType = 'Conversation' AND {here}"),
            tool_runs=await self._count(f"WorkflowType = 'ToolRun' AND {here}"),
        )

    async def runs_on(self, build_id: str, *, conversations_only: bool) -> AsyncIterator[OpenRun]:
        kind = "WorkflowType = 'Conversation' AND " if conversations_only else ""
        with answered():
            async for one in self._client.list_workflows(f"{_OPEN} AND {kind}{self._on(build_id)}"):
                yield one

    async def _count(self, query: str) -> int:
        with answered():
            return (await self._client.count_workflows(f"{_OPEN} AND {query}")).count

    def _on(self, build_id: str) -> str:
        if build_id == UNVERSIONED:
            return "TemporalWorkerDeploymentVersion IS NULL"
        version = f"{self.name}:{build_id}".replace("'", "''")
        return f"TemporalWorkerDeploymentVersion = '{version}'"

    async def renew(self, run: OpenRun) -> bool:
        """Tell a conversation to begin a new run; False where this run has ended by itself."""
        handle = self._client.get_workflow_handle(run.id, run_id=run.run_id)
        with answered():
            try:
                await handle.signal(names.RENEW)
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return False
                raise
        return True

    async def take_over(self, run: OpenRun, build_id: str) -> bool:
        """Let workers of this version go on with a run whose own are gone; False where it has ended."""
        override = (
            OneTimeVersioningOverride(WorkerDeploymentVersion(self.name, build_id))
            if build_id
            else AutoUpgradeVersioningOverride()
        )
        with answered():
            try:
                await self._override(run, override._to_proto())
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return False
                raise
        return True

    async def _override(self, run: OpenRun, override: VersioningOverride) -> None:
        await self._client.workflow_service.update_workflow_execution_options(
            UpdateWorkflowExecutionOptionsRequest(
                namespace=self._client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=run.id, run_id=run.run_id),
                workflow_execution_options=WorkflowExecutionOptions(versioning_override=override),
                update_mask=FieldMask(paths=["versioning_override"]),
                identity=_IDENTITY,
            )
        )

    # --- who works ----------------------------------------------------------------------------------------

    async def workers(self, *, gone_after_s: float = GONE_AFTER_S) -> dict[str, dict[str, int]]:
        """By build id and queue, how many workers poll."""
        found: dict[str, dict[str, int]] = defaultdict(dict)
        for queue in names.QUEUES:
            identities: dict[str, set[str]] = defaultdict(set)
            for kind in (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY):
                for poller in await self._pollers(queue, kind, gone_after_s=gone_after_s):
                    if (build_id := self._build_of(poller)) is not None:
                        identities[build_id].add(poller.identity)
            for build_id, pollers in identities.items():
                found[build_id][queue] = len(pollers)
        return dict(found)

    async def unpolled(self, build_id: str, queues: Sequence[str]) -> list[str]:
        """Of these queues, the ones for which no worker of the version asks. The first one runs the workflows."""
        kinds = [(queue, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY) for queue in queues]
        kinds.insert(0, (queues[0], TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW))
        missing = []
        for queue, kind in kinds:
            pollers = await self._pollers(queue, kind, gone_after_s=GONE_AFTER_S)
            if queue not in missing and all(self._build_of(poller) != build_id for poller in pollers):
                missing.append(queue)
        return missing

    async def _pollers(
        self, queue: str, kind: TaskQueueType.ValueType, *, gone_after_s: float
    ) -> list[PollerInfo]:
        with answered():
            answer = await self._client.workflow_service.describe_task_queue(
                DescribeTaskQueueRequest(
                    namespace=self._client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind
                )
            )
        since = time.time() - gone_after_s
        return [poller for poller in answer.pollers if poller.last_access_time.seconds >= since]

    def _build_of(self, poller: PollerInfo) -> str | None:
        """None for another deployment's."""
        worker = poller.deployment_options
        if worker.worker_versioning_mode != WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED:
            return UNVERSIONED
        return worker.build_id if worker.deployment_name == self.name else None


@contextmanager
def answered() -> Iterator[None]:
    """Raises `Unavailable` for a server that does not answer."""
    try:
        yield
    except RPCError as error:
        if error.status in _AWAY:
            raise Unavailable("temporal", error.status.name) from error
        raise


def current_of(info: WorkerDeploymentInfo) -> str:
    return info.routing_config.current_deployment_version.build_id


def builds_of(info: WorkerDeploymentInfo) -> list[str]:
    return [one.deployment_version.build_id for one in info.version_summaries]


def _so_many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
