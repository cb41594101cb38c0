"""The api process: the edge with console and listeners. Started as `python -m entrypoints.serve.api`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from temporalio.client import Client

from api.app import make_app
from api.deps import AppDeps, WebhookDeps
from api.intake import Intake
from api.limits import Limits
from api.metrics import Metrics
from api.tools.grpc.server import GrpcServer
from channels.registry import Accounts, close_channels
from console import pages
from entrypoints.serve.http_timeouts import patient
from entrypoints.serve.listen import Listening
from entrypoints.serve.model_routes import model_routes
from entrypoints.serve.process import run, settle_memory
from entrypoints.serve.wiring import Foundation, lay_foundation
from portico.crypto.holders import KeyringFollower
from portico.llm.offers import ModelOffers
from portico.logs import logger
from portico.policy.opa import PolicyClient
from portico.private_files import write_private
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.settings.tls import server_context
from portico.storage.access import Access
from portico.storage.data_classes import DataClasses
from portico.storage.dead_letters import DeadLetters
from portico.storage.decisions import Decisions
from portico.storage.inbox import Inbox
from portico.storage.leases import Leases
from portico.storage.live import choice
from portico.storage.mcp_pins import McpPins
from portico.storage.memory import Memory
from portico.storage.objects.artifacts import Artifacts
from portico.storage.objects.blobs import BlobStore
from portico.storage.outbox import Outbox
from portico.storage.people import People
from portico.storage.route_health import RouteHealth
from portico.storage.tools import ToolTable
from portico.storage.usage import ModelUsage
from portico.telemetry.start import start_traces
from portico.telemetry.worker_metrics import sdk_runtime
from portico.temporal.client import connect
from portico.triton.encoder import LazyEncoder
from portico.version import portico_version

KEEP_ALIVE_S = 75
STOP_WITHIN_S = 5

log = logger("api")


async def make_edge(ground: Foundation) -> FastAPI:
    """The whole edge over the common ground: webhooks, app, console; listeners run with its lifespan."""
    settings = ground.settings
    runtime = sdk_runtime(json_lines=settings.log.json_lines)
    temporal = await connect(ground.connections, ground.keyring, lazy=True, runtime=runtime)
    blobs = BlobStore(ground.connections, ground.keyring)
    intake = Intake(
        temporal,
        ground.keyring,
        blobs,
        signal_bytes=settings.limits.signal_bytes,
        split_queues=settings.temporal.split,
        traces=start_traces(settings, part="api"),
    )
    webhook_deps = WebhookDeps(
        settings=settings,
        accounts=ground.accounts,
        intake=intake,
        limits=Limits(
            failed_per_minute=settings.limits.failed_verifications_per_minute,
            messages_per_minute=settings.limits.messages_per_minute,
            invocations_per_minute=settings.limits.invocations_per_minute,
        ),
        metrics=Metrics(),
    )
    app_deps = _app_deps(ground, temporal, blobs, webhook_deps)
    await ensure_first_owner(app_deps)
    app = make_app(webhook_deps, app_deps, version=portico_version())
    listening = Listening(ground.accounts, settings, intake, Leases(ground.database))
    app.router.lifespan_context = _lifespan(app_deps, listening, ground.accounts)
    pages.mount(app)
    return app


def _app_deps(ground: Foundation, temporal: Client, blobs: BlobStore, webhook_deps: WebhookDeps) -> AppDeps:
    return AppDeps(
        home=ground.home,
        settings=ground.settings,
        keyring=ground.keyring,
        connections=ground.connections,
        temporal=temporal,
        intake=webhook_deps.intake,
        limits=webhook_deps.limits,
        metrics=webhook_deps.metrics,
        access=Access(ground.database),
        people=People(ground.database, ground.keyring),
        inbox=Inbox(ground.database),
        outbox=Outbox(ground.database),
        memory=Memory(ground.database),
        dead_letters=DeadLetters(ground.database),
        decisions=Decisions(ground.database),
        policy=PolicyClient(ground.connections.opa_url, ground.connections.opa_token),
        blobs=blobs,
        live=choice.hub(ground.home, ground.keyring, ground.settings),
        tools=ToolTable(ground.database),
        pins=McpPins(ground.database),
        artifacts=Artifacts(ground.database, blobs),
        models=ModelOffers(ground.home, ground.settings),
        routes=model_routes(ground),
        encoder=LazyEncoder(ground.connections.triton),
        usage=ModelUsage(ground.database),
        route_health=RouteHealth(ground.database),
        data_classes=DataClasses(ground.database),
    )


def _lifespan(deps: AppDeps, listening: Listening, accounts: Accounts):  # type: ignore[no-untyped-def]
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await deps.live.start()
        listening.start()
        yield
        await app.state.mcp.close()
        await listening.stop()
        await close_channels(accounts)
        await deps.live.stop()
        await deps.policy.close()
        await deps.routes.close()
        await deps.encoder.close()
        await asyncio.to_thread(deps.intake.traces.close)

    return lifespan


async def ensure_first_owner(deps: AppDeps) -> None:
    """The first owner and the CLI's key are made at first start; a key that a deployment brings is taken."""
    owner = await deps.people.ensure_owner()
    if deps.home.cli_key.exists():
        given = _read_key(deps.home)
        if await deps.access.check_key(given) is not None:
            return
        if await deps.access.adopt_key(given, "owner", "cli", person_id=owner):
            return
    key = await deps.access.create_key("owner", "cli", person_id=owner)
    write_private(deps.home.cli_key, key.encode())


def _read_key(home: Home) -> str:
    return home.cli_key.read_text().strip()


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """TLS 1.3 only where a certificate is configured; no banner."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        log_config=None,  # its lines go where ours go
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        http=patient(settings.limits.request_timeout_s),
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_WITHIN_S,
        ws_max_size=2 * 1024 * 1024,
    )
    config.load()
    config.ssl = server_context(settings.tls)
    return config


async def serve() -> None:
    """Run until SIGTERM or SIGINT."""
    ground = await lay_foundation()
    follower = KeyringFollower(ground.home, ground.keyring, part="api")
    follower.start()
    app = await make_edge(ground)
    config = server_config(app, ground.settings)
    grpc = GrpcServer(app.state.deps)
    await grpc.start()
    settle_memory()
    await uvicorn.Server(config).serve()
    await grpc.stop()
    follower.close()
    ground.database.close()


def main() -> None:
    run("api", serve())


if __name__ == "__main__":
    main()
