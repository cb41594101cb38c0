"""The Temporal client of every process: all content encrypted, large payloads in S3, no proxy on the way.

Also what a namespace must have before workflows run in it; the embedded stack sets the same at its start.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    RegisterNamespaceRequest,
    UpdateNamespaceRequest,
)
from temporalio.client import Client, HeaderCodecBehavior
from temporalio.converter import ExternalStorage, PayloadCodec
from temporalio.runtime import Runtime
from temporalio.service import GrpcCompression, KeepAliveConfig, RPCError, RPCStatusCode, TLSConfig

from portico.crypto.keyring import Keyring
from portico.errors import Unavailable
from portico.settings.connections import Connections, TemporalAccess
from portico.temporal.codec import EncryptionCodec, data_converter
from portico.temporal.payload_storage import payload_storage

SEARCH_ATTRIBUTES = ("PorticoChannel", "PorticoStatus")
CONNECT_TIMEOUT_S = 5.0
KEEP_ALIVE = KeepAliveConfig(interval_millis=10_000, timeout_millis=5_000)
_AWAY = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.RESOURCE_EXHAUSTED)
_SPREAD_TRIES, _SPREAD_PAUSE_S = 50, 0.2


async def connect(
    connections: Connections,
    keyring: Keyring,
    *,
    codec: PayloadCodec | None = None,
    s3: bool = True,
    lazy: bool = False,
    runtime: Runtime | None = None,
) -> Client:
    """A client that encrypts every payload. Raises `Unavailable`; `lazy` connects at the first call.

    `codec`: for an edge that may only seal. `s3=False`: for one that never carries large payloads.
    `runtime`: one that shows its metrics.
    """
    external: ExternalStorage | None = payload_storage(connections) if s3 else None
    try:
        return await Client.connect(
            connections.temporal,
            namespace=connections.namespace,
            data_converter=data_converter(codec or EncryptionCodec(keyring), external=external),
            header_codec_behavior=HeaderCodecBehavior.CODEC,
            keep_alive_config=KEEP_ALIVE,
            http_connect_proxy_config=None,
            # ciphertext does not get smaller, and the way is short
            grpc_compression=GrpcCompression.NONE,
            connect_timeout=timedelta(seconds=CONNECT_TIMEOUT_S),
            lazy=lazy,
            runtime=runtime,
            tls=_tls(connections.temporal_access),
            api_key=connections.temporal_access.api_key or None,
        )
    except RuntimeError as error:  # of the SDK's bridge
        raise Unavailable("temporal", f"nobody answers at {connections.temporal}") from error
    except (RPCError, OSError) as error:
        raise Unavailable("temporal", type(error).__name__) from error


def _tls(access: TemporalAccess) -> TLSConfig | bool:
    if not access.tls:
        return False
    return TLSConfig(
        server_root_ca_cert=access.ca,
        domain=access.name,
        client_cert=access.certificate,
        client_private_key=access.key,
    )


async def ensure_namespace(client: Client, retention_days: int) -> None:
    """Namespace, retention and search attributes, set and read back, else `Unavailable`."""
    try:
        await _ensure_retention(client, retention_days)
        await _ensure_search_attributes(client)
    except RPCError as error:
        if error.status in _AWAY:
            raise Unavailable("temporal", error.status.name) from error
        raise


async def _ensure_retention(client: Client, days: int) -> None:
    wanted = Duration(seconds=days * 86_400)
    service = client.workflow_service
    current = await _retention(client)
    if current is None:
        await service.register_namespace(
            RegisterNamespaceRequest(namespace=client.namespace, workflow_execution_retention_period=wanted)
        )
    elif current != wanted:
        config = NamespaceConfig(workflow_execution_retention_ttl=wanted)
        await service.update_namespace(UpdateNamespaceRequest(namespace=client.namespace, config=config))
    for _ in range(_SPREAD_TRIES):  # a new namespace takes a moment to be known to all of the server
        if await _retention(client) == wanted:
            return
        await asyncio.sleep(_SPREAD_PAUSE_S)
    raise Unavailable("temporal", f"the retention of {client.namespace} is not {days} days")


async def _retention(client: Client) -> Duration | None:
    try:
        answer = await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace)
        )
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    return answer.config.workflow_execution_retention_ttl


async def _ensure_search_attributes(client: Client) -> None:
    missing = await _missing_of_new_namespace(client)
    if missing:
        kinds = dict.fromkeys(missing, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD)
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=kinds)
        )
    for _ in range(_SPREAD_TRIES):
        if not await _missing_attributes(client):
            return
        await asyncio.sleep(_SPREAD_PAUSE_S)
    raise Unavailable("temporal", f"search attributes are missing in {client.namespace}")


async def _missing_of_new_namespace(client: Client) -> list[str]:
    """A namespace that was just registered is not yet known to the part of the server that lists attributes."""
    for _ in range(_SPREAD_TRIES):
        try:
            return await _missing_attributes(client)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        await asyncio.sleep(_SPREAD_PAUSE_S)
    raise Unavailable("temporal", f"{client.namespace} is not known to the whole server")


async def _missing_attributes(client: Client) -> list[str]:
    answer = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    return [name for name in SEARCH_ATTRIBUTES if answer.custom_attributes.get(name) != keyword]
