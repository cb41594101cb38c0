"""Asks every part that the settings name whether this Portico can work with it: before a start, and in `deploy check`.

Only parts that run elsewhere are asked; the embedded ones are their supervisor's. What is wrong is one line that says
what to do. Rules, models and sandbox may come later: messages wait for them, so their absence is a warning.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass

import aiohttp
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, GetSystemInfoRequest
from temporalio.service import RPCError, RPCStatusCode

from operations.checks.deployment import Finding
from operations.ports import is_free
from operations.probes import grpc_true
from portico.crypto.keyring import Keyring, open_keyring
from portico.errors import Misconfigured, PorticoError, Unavailable
from portico.policy.opa import PolicyClient
from portico.settings.connections import Connections, connect_to
from portico.settings.home import Home
from portico.settings.load import load_settings
from portico.settings.settings import Settings
from portico.storage.objects.blobs import BlobStore
from portico.temporal.client import connect
from portico.version import is_newer

OLDEST_TEMPORAL = "1.28.0"
"""The first whose workers have versions for good."""
TIMEOUT_S = 3.0
PAUSE_S = 0.5
RULES_PATH = "/v1/data/system/gate/answers/policy"
TRITON_READY = "/inference.GRPCInferenceService/ServerReady"
_NOT_LET_IN = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED)


@dataclass(frozen=True)
class Ground:
    """All that is needed to ask."""

    settings: Settings
    keyring: Keyring
    connections: Connections


def read_ground() -> Ground:
    """As every process reads it. Raises `Misconfigured`."""
    home = Home.from_environment()
    home.make()
    settings = load_settings(home)
    return Ground(settings, open_keyring(home), connect_to(settings, home))


Look = Callable[[Ground], Awaitable[str]]


async def examine(ground: Ground) -> AsyncIterator[Finding]:
    """Everything, one finding for each part that runs elsewhere."""
    for what, look in needed(ground.settings):
        try:
            yield Finding(what, True, await look(ground))
        except PorticoError as error:
            yield Finding(what, False, error.message)
    for what, look in may_come_later(ground.settings):
        try:
            yield Finding(what, True, await look(ground))
        except PorticoError as error:
            yield Finding(what, False, error.message, later=isinstance(error, Unavailable))


async def insist(ground: Ground, *, patience_s: float) -> list[str]:
    """Wait until everything that is needed answers; what may come later is returned, a line each.

    Raises at once what only a person can fix, and `Unavailable` if a part stays unavailable.
    """
    ends = asyncio.get_running_loop().time() + patience_s
    for _, look in needed(ground.settings):
        while True:
            try:
                await look(ground)
                break
            except Unavailable:
                if asyncio.get_running_loop().time() >= ends:
                    raise
                await asyncio.sleep(PAUSE_S)
    warnings = []
    for _, look in may_come_later(ground.settings):
        try:
            await look(ground)
        except Unavailable as error:
            warnings.append(error.message)
    return warnings


def needed(settings: Settings) -> list[tuple[str, Look]]:
    looks: list[tuple[str, Look, bool]] = [
        ("database", _database, settings.database.url is not None),
        ("bucket", _bucket, bool(settings.storage.url)),
        ("temporal", _temporal, bool(settings.temporal.address)),
    ]
    return [(what, look) for what, look, elsewhere in looks if elsewhere]


def may_come_later(settings: Settings) -> list[tuple[str, Look]]:
    looks: list[tuple[str, Look, bool]] = [
        ("rules", _rules, bool(settings.policy.url)),
        ("models", _models, bool(settings.models.triton)),
        ("sandbox", _sandbox, bool(settings.sandbox.enabled and settings.sandbox.url)),
    ]
    return [(what, look) for what, look, elsewhere in looks if elsewhere]


def own_ports(settings: Settings) -> None:
    """Raises `Misconfigured` if the edge's ports are taken."""
    for key, port in (("port", settings.port), ("grpc_port", settings.grpc_port)):
        if port and not is_free(port, host=settings.host):
            raise Misconfigured(
                f"{key} {port} on {settings.host} is taken: stop what listens there, or set {key}"
            )


async def _database(ground: Ground) -> str:
    from portico.storage.engine.postgres import Ciphers, PostgresConnection
    from portico.storage.engine.postgres_schema import look

    url = ground.settings.database.url
    assert url is not None

    def work() -> str:
        with closing(PostgresConnection(url.get_secret_value(), Ciphers(ground.keyring))) as connection:
            return look(connection)

    return await asyncio.to_thread(work)


async def _bucket(ground: Ground) -> str:
    store = BlobStore(ground.connections, ground.keyring)
    try:
        await store.examine()
    except Unavailable as error:
        raise Unavailable(
            "s3", f"nothing answers at storage.url ({error.message.rpartition(': ')[2]})"
        ) from None
    finally:
        store.close()
    locked = ", with object lock" if ground.connections.object_lock else ""
    return f"{ground.connections.bucket}{locked}"


async def _temporal(ground: Ground) -> str:
    address, namespace = ground.connections.temporal, ground.connections.namespace
    try:
        client = await connect(ground.connections, ground.keyring, s3=False)
        about = await client.workflow_service.get_system_info(GetSystemInfoRequest())
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
    except Unavailable:
        raise Unavailable("temporal", f"nothing answers at temporal.address ({address})") from None
    except RPCError as error:
        raise _refusal(error, namespace) from None
    if is_newer(OLDEST_TEMPORAL, about.server_version):
        raise Misconfigured(
            f"temporal {about.server_version} at {address} is too old: {OLDEST_TEMPORAL} or newer is needed"
        )
    return f"{about.server_version}, namespace {namespace}"


def _refusal(error: RPCError, namespace: str) -> PorticoError:
    if error.status is RPCStatusCode.NOT_FOUND:
        return Misconfigured(
            f"temporal has no namespace {namespace}: `portico deploy prepare` makes it, or set temporal.namespace"
        )
    if error.status in _NOT_LET_IN:
        return Misconfigured("temporal does not let Portico in: check [temporal]")
    return Unavailable("temporal", error.status.name.lower())


async def _rules(ground: Ground) -> str:
    url = ground.connections.opa_url.rstrip("/")
    if await _status(f"{url}{RULES_PATH}", "OPA", f"nothing answers at policy.url ({url})", ground) in (
        401,
        403,
    ):
        raise Misconfigured("OPA does not take policy.token: both sides need the same")
    policy = PolicyClient(url, ground.connections.opa_token, timeout_s=TIMEOUT_S)
    try:
        return f"bundle {await policy.revision()}"
    finally:
        await policy.close()


async def _models(ground: Ground) -> str:
    if not await grpc_true(ground.connections.triton, TRITON_READY):
        raise Unavailable("triton", f"not ready at models.triton ({ground.connections.triton})")
    return ground.connections.triton


async def _sandbox(ground: Ground) -> str:
    url = ground.settings.sandbox.url.rstrip("/")
    status = await _status(f"{url}/healthz", "sandbox", f"nothing answers at sandbox.url ({url})")
    if status != 200:
        raise Unavailable("sandbox", f"it answers {status} at sandbox.url ({url})")
    return url


async def _status(url: str, part: str, silent: str, ground: Ground | None = None) -> int:
    """Raises `Unavailable` with `silent` if nothing responds. With `ground`: authenticated."""
    token = ground.connections.opa_token.get_secret_value() if ground else ""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    limit, method = aiohttp.ClientTimeout(TIMEOUT_S), "POST" if ground else "GET"
    try:
        async with (
            aiohttp.ClientSession(trust_env=False, timeout=limit) as session,
            session.request(method, url, headers=headers, json={} if ground else None) as answer,
        ):
            return answer.status
    except (aiohttp.ClientError, TimeoutError):
        raise Unavailable(part, silent) from None
