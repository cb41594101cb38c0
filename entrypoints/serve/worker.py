"""The worker process: runs workflows and activities. Started as `python -m entrypoints.serve.worker`."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import Interceptor, UnsandboxedWorkflowRunner, Worker, WorkerDeploymentConfig

from activities.authorize import AuthorizeSteps
from activities.boundary import BoundaryInterceptor
from activities.callback import CallbackSteps
from activities.collect import CollectSteps
from activities.dead_letters import DeadLetterSteps
from activities.deliver import DeliverSteps
from activities.deps import Deps
from activities.generate import GenerateSteps
from activities.normalize import NormalizeSteps
from activities.offer_tools import OfferSteps
from activities.pairing import PairingSteps
from activities.presence import Presence
from activities.remember import RememberSteps
from activities.retrieve import RetrieveSteps
from activities.tools import ToolSteps
from activities.understand import UnderstandSteps
from channels.registry import close_channels
from entrypoints.serve.maintenance import identify_accounts, prune_for_ever, tell_understanding
from entrypoints.serve.model_routes import model_routes
from entrypoints.serve.observe import watch
from entrypoints.serve.process import run, settle_memory
from entrypoints.serve.tool_sources import WorkerTools
from entrypoints.serve.triton_scaling import Lead, follow_queue
from entrypoints.serve.wiring import Foundation, lay_foundation
from portico.contracts import names
from portico.crypto.holders import KeyringFollower
from portico.logs import logger
from portico.policy.opa import PolicyClient
from portico.private_files import write_private
from portico.settings.connections import triton_address
from portico.settings.servers import TemporalSettings
from portico.storage.data_classes import DataClasses
from portico.storage.dead_letters import DeadLetters
from portico.storage.inbox import Inbox
from portico.storage.leases import Leases
from portico.storage.live import choice
from portico.storage.memory import Memory
from portico.storage.objects.artifacts import Artifacts
from portico.storage.objects.blobs import BlobStore
from portico.storage.outbox import Outbox
from portico.storage.people import People
from portico.storage.secrets import SecretStore
from portico.storage.usage import ModelUsage
from portico.temporal.client import connect, ensure_namespace
from portico.temporal.codec import WorkerCodec
from portico.triton.admin import TritonAdmin
from portico.triton.client import UnderstandClient
from portico.triton.understand_cache import ServedHead, UnderstandCache
from workflows.conversation import Conversation
from workflows.tool_run import ToolRun

WORKFLOWS: tuple[type, ...] = (Conversation, ToolRun)
CACHED_WORKFLOWS = 2_000
"""More than conversations are active at once: with fewer, every turn replays its history (p99 of seconds)."""
ALIVE_EVERY_S = 5.0
ACTIVITIES_AT_ONCE = 300
"""So many that calls of a slow tool, which wait for their turn, leave places for replies."""
GRACE = timedelta(seconds=8)
STICKY_TIMEOUT = timedelta(seconds=3)
"""How long a task waits for a worker that was killed before any other may take it."""

log = logger("worker")


def activities(deps: Deps) -> list[Callable[..., Any]]:
    """Every activity, written out; a test holds the list against the modules."""
    presence = Presence(deps.accounts)
    tools = ToolSteps(
        deps.catalog,
        keep_artifact=deps.artifacts.keep,
        keep_output=deps.artifacts.keep_output,
        publish=deps.live.publish,
        typing=presence.typing,
        default_timeout_s=deps.settings.tools.timeout_s,
    )
    authorize = AuthorizeSteps(deps, tool_spec=deps.catalog.spec)
    offers = OfferSteps(deps, authorize.about_tool)
    callback = CallbackSteps(deps.settings, deps.policy, deps.secrets, blobs=deps.blobs)
    pairing = PairingSteps(deps)
    return [
        NormalizeSteps(deps).normalize,
        authorize.authorize_inbound,
        authorize.authorize_model,
        authorize.authorize_egress,
        authorize.authorize_tool,
        pairing.offer_pairing,
        pairing.redeem_pairing,
        UnderstandSteps(deps).understand,
        RetrieveSteps(deps).retrieve,
        offers.offer_tools,
        offers.look_up_tool,
        offers.authorize_approval,
        GenerateSteps(deps.routes, deps.live, tool_spec=deps.catalog.spec, typing=presence.typing).generate,
        CollectSteps(deps).collect,
        DeliverSteps(deps).deliver,
        RememberSteps(deps).remember,
        DeadLetterSteps(deps).record_dead_letter,
        tools.execute,
        tools.execute_named,
        callback.authorize_callback,
        callback.post_callback,
    ]


def make_deps(ground: Foundation, tools: WorkerTools | None = None) -> Deps:
    """Repositories and clients over the common ground."""
    connections = ground.connections
    blobs = BlobStore(connections, ground.keyring)
    tools = tools or WorkerTools(ground, blobs)
    return Deps(
        home=ground.home,
        settings=ground.settings,
        accounts=ground.accounts,
        people=People(ground.database, ground.keyring),
        inbox=Inbox(ground.database),
        outbox=Outbox(ground.database),
        memory=Memory(ground.database),
        dead_letters=DeadLetters(ground.database),
        blobs=blobs,
        live=choice.publisher(ground.home, ground.keyring, ground.settings),
        policy=PolicyClient(connections.opa_url, connections.opa_token),
        understand=UnderstandCache(
            UnderstandClient(connections.triton),
            ServedHead(ground.home.models / "understand" / "intents.json"),
        ),
        routes=model_routes(ground),
        usage=ModelUsage(ground.database),
        data_classes=DataClasses(ground.database),
        secrets=SecretStore(ground.database),
        artifacts=Artifacts(ground.database, blobs),
        catalog=tools.catalog,
    )


def make_workers(client: Client, deps: Deps, outer: tuple[Interceptor, ...] = ()) -> list[Worker]:
    """One for each queue that the settings name; workflows run on the first queue alone."""
    return [_make_worker(client, deps, queue, outer) for queue in deps.settings.temporal.queues]


def _make_worker(client: Client, deps: Deps, queue: str, outer: tuple[Interceptor, ...]) -> Worker:
    return Worker(
        client,
        task_queue=queue,
        workflows=list(WORKFLOWS) if queue == names.TASK_QUEUE else [],
        activities=activities(deps),
        interceptors=[*outer, BoundaryInterceptor()],
        # 30 % less CPU a turn; the tests run these workflows in the sandbox, and saved histories are replayed.
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=CACHED_WORKFLOWS,
        max_concurrent_activities=ACTIVITIES_AT_ONCE,
        max_heartbeat_throttle_interval=timedelta(seconds=1),
        graceful_shutdown_timeout=GRACE,
        sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
        deployment_config=version_of(deps.settings.temporal),
    )


def version_of(temporal: TemporalSettings) -> WorkerDeploymentConfig | None:
    """Which version a worker says that it is; none where the settings name no build.

    Runs are pinned here and not where workflows are defined: the server refuses what a worker without a version
    says of pinning.
    """
    if not temporal.build_id:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(temporal.deployment, temporal.build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )


async def _follow_queue(ground: Foundation) -> None:
    """Of the Triton that belongs to this home; another's is not ours to change."""
    address, key = triton_address(ground.settings, ground.home)
    if key.get_secret_value():
        admin = TritonAdmin(address, key.get_secret_value())
        shared = ground.settings.database.url is not None
        await follow_queue(
            ground.home,
            admin,
            most=ground.settings.models.instances_max,
            leads=Lead(Leases(ground.database)) if shared else None,
        )


async def serve() -> None:
    """Run until SIGTERM or SIGINT."""
    ground = await lay_foundation()
    follower = KeyringFollower(ground.home, ground.keyring, part="worker")
    follower.start()
    tools = WorkerTools(ground, BlobStore(ground.connections, ground.keyring))
    deps = make_deps(ground, tools)
    watching = watch(ground.settings)
    codec = WorkerCodec(ground.keyring)
    client = await connect(ground.connections, ground.keyring, codec=codec, runtime=watching.runtime)
    if ground.settings.temporal.address:  # the embedded server is made ready by its supervisor
        await ensure_namespace(client, ground.settings.temporal.retention_days)
    await tools.start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    beside = [
        asyncio.create_task(deps.routes.detect()),
        asyncio.create_task(identify_accounts(ground.accounts)),
        asyncio.create_task(prune_for_ever(deps)),
        asyncio.create_task(tell_understanding(deps)),
        asyncio.create_task(_follow_queue(ground)),
        asyncio.create_task(deps.catalog.run()),
    ]
    for task in beside:
        task.add_done_callback(_say_if_it_ends)
    async with AsyncExitStack() as working:
        for worker in make_workers(client, deps, watching.interceptors):
            await working.enter_async_context(worker)
        write_private(ground.home.run / "worker.ready", str(os.getpid()).encode())
        log.info("worker.ready")
        settle_memory()
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), ALIVE_EVERY_S)
            (ground.home.run / "worker.ready").touch()  # a health check looks at its age
    for task in beside:
        task.cancel()
    await tools.close()
    await close_channels(ground.accounts)
    await deps.live.close()
    await watching.close()
    follower.close()
    ground.database.close()


def _say_if_it_ends(task: asyncio.Task[None]) -> None:
    """A bug that ends a background task would not be noticed at once."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("worker.ended_beside", exc_info=error)


def main() -> None:
    run("worker", serve())


if __name__ == "__main__":
    main()
