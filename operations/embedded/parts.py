"""The parts of the embedded stack, written out in the order in which they start.

A part says what it needs, where it listens, how it is started and how to ask it whether it is ready.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from operations.embedded import sandbox, temporal, triton
from operations.embedded.arguments import hide_argument
from operations.embedded.context import StackContext
from operations.probes import first_field, grpc_true, http_ok
from operations.rules import bundle
from operations.setup.binaries import OPA, VERSITYGW
from portico.errors import Misconfigured
from portico.logs import logger
from portico.settings.settings import Settings
from triton_models.server import LOADED

GRPC_HEALTH = "/grpc.health.v1.Health/Check"
TRITON_READY = "/inference.GRPCInferenceService/ModelReady"
TEMPORAL_FRONTEND = "temporal.api.workflowservice.v1.WorkflowService"


async def _nothing(context: StackContext) -> None:
    """Most parts need no work of their own."""


log = logger("embedded")


@dataclass(frozen=True)
class Part:
    """How one part is started and watched. `addresses` are the names of its addresses; the first is the part's own."""

    name: str
    command: Callable[[StackContext], tuple[str, ...]]
    environment: Callable[[StackContext], Mapping[str, str]]
    ready: Callable[[StackContext, int], Awaitable[bool]]
    addresses: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    before: Callable[[StackContext], tuple[str, ...]] | None = (
        None  # a command that has to succeed before each start
    )
    after: Callable[[StackContext], Awaitable[Any]] = (
        _nothing  # what is set and read back whenever it came up
    )
    external: Callable[[Settings], str] = lambda settings: ""  # the address of one that runs elsewhere
    ready_timeout_s: float = 60
    stop_timeout_s: float = 10
    late: bool = False  # started when everything else is up; the stack is ready, and goes on, without it
    before_environment: Callable[[StackContext], Mapping[str, str]] = StackContext.plain_environment


async def _temporal_ready(context: StackContext, _pid: int) -> bool:
    return await grpc_true(context.address("temporal"), GRPC_HEALTH, first_field(TEMPORAL_FRONTEND))


def _opa_command(context: StackContext) -> tuple[str, ...]:
    if not OPA.path.exists():
        raise Misconfigured(f"{OPA.path} is missing; run `make setup`")
    try:
        bundle.write_bundle(context.home, context.credentials["opa_token"], OPA.path)
    except Misconfigured:
        if not bundle.bundle_path(context.home).exists():
            raise
    return tuple(bundle.opa_command(OPA.path, context.home, context.port("opa")))


async def _opa_ready(context: StackContext, _pid: int) -> bool:
    return await http_ok(context.address("opa"), "/health")


def _s3_command(context: StackContext) -> tuple[str, ...]:
    if not VERSITYGW.path.exists():
        raise Misconfigured(f"{VERSITYGW.path} is missing; run `make setup`")
    versions = context.home.root / "s3-versions"
    for directory in (context.home.blobs, versions):
        directory.mkdir(mode=0o700, exist_ok=True)
    address = context.address("s3")
    server = (str(VERSITYGW.path), "--port", address, "--health", "/healthz", "--quiet", "--keep-alive")
    return (*server, "posix", "--versioning-dir", str(versions), str(context.home.blobs))


def _s3_environment(context: StackContext) -> dict[str, str]:
    keys = {
        "ROOT_ACCESS_KEY": context.credentials["s3_access_key"],
        "ROOT_SECRET_KEY": context.credentials["s3_secret_key"],
    }
    return context.plain_environment() | keys


async def _s3_ready(context: StackContext, _pid: int) -> bool:
    return await http_ok(context.address("s3"), "/healthz")


async def _triton_ready(context: StackContext, pid: int) -> bool:
    """The models that every turn needs: Triton as a whole stops being ready when any other fails to load."""
    for model in LOADED:
        if not await grpc_true(context.address("triton"), TRITON_READY, first_field(model)):
            return False
    if not hide_argument(pid, context.credentials["triton_admin_key"]):
        log.warning("triton.key_in_command_line", process=pid)
    return True


def _python(module: str) -> Callable[[StackContext], tuple[str, ...]]:
    return lambda context: (sys.executable, "-m", module)


async def _worker_ready(context: StackContext, pid: int) -> bool:
    try:
        return (context.home.run / "worker.ready").read_text().strip() == str(pid)
    except FileNotFoundError:
        return False


async def _api_ready(context: StackContext, _pid: int) -> bool:
    return await http_ok(context.address("api"), "/readyz", tls=context.tls)


async def _sandbox_ready(context: StackContext, _pid: int) -> bool:
    return await http_ok(context.address("sandbox"), "/healthz")


NEEDED_TO_START = ("temporal", "opa", "s3")  # Triton takes longest and is only asked when a message is there
PARTS = (
    Part(
        name="temporal",
        addresses=("temporal", "temporal-http", "temporal-ui", "temporal-metrics"),
        command=temporal.command,
        environment=StackContext.plain_environment,
        ready=_temporal_ready,
        after=temporal.prepare_namespace,
        external=lambda settings: settings.temporal.address,
    ),
    Part(
        name="opa",
        addresses=("opa",),
        command=_opa_command,
        environment=lambda _context: dict(bundle.OPA_ENVIRONMENT),
        ready=_opa_ready,
        external=lambda settings: settings.policy.url,
    ),
    Part(
        name="s3",
        addresses=("s3",),
        command=_s3_command,
        environment=_s3_environment,
        ready=_s3_ready,
        external=lambda settings: settings.storage.url,
    ),
    Part(
        name="triton",
        addresses=("triton", "triton-metrics"),
        before=triton.build_models,
        command=triton.command,
        environment=triton.environment,
        ready=_triton_ready,
        external=lambda settings: settings.models.triton,
    ),
    Part(
        name="worker",
        needs=NEEDED_TO_START,
        command=_python("entrypoints.serve.worker"),
        environment=StackContext.own_environment,
        ready=_worker_ready,
    ),
    Part(
        name="api",
        addresses=("api", "api-grpc"),
        needs=NEEDED_TO_START,
        command=_python("entrypoints.serve.api"),
        environment=StackContext.own_environment,
        ready=_api_ready,
    ),
    Part(
        name="sandbox",
        addresses=("sandbox",),
        before=sandbox.build,
        before_environment=sandbox.build_environment,
        command=sandbox.command,
        environment=StackContext.plain_environment,
        ready=_sandbox_ready,
        external=lambda settings: settings.sandbox.url,
        stop_timeout_s=20,
        late=True,
    ),
)
EDGE_ADDRESSES = ("api", "api-grpc")


def choose(names: tuple[str, ...], settings: Settings) -> tuple[Part, ...]:
    """The named parts (all, where none is named) that do not run elsewhere. Raises `Misconfigured`."""
    unknown = sorted(set(names) - {part.name for part in PARTS})
    if unknown:
        raise Misconfigured(
            f"no part {', '.join(unknown)}; there are {', '.join(part.name for part in PARTS)}"
        )
    return tuple(
        part
        for part in PARTS
        if (not names or part.name in names)
        and not part.external(settings)
        and not switched_off(part, settings)
    )


def switched_off(part: Part, settings: Settings) -> bool:
    """Whether a person wants to do without it."""
    return part.name == "sandbox" and not settings.sandbox.enabled
