"""The gRPC server in the api process, with the services that clients look for (health, reflection)."""

from __future__ import annotations

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from api.deps import AppDeps
from api.tools.grpc.tools import NAME, Tools
from portico.errors import Misconfigured
from portico.logs import logger
from portico.settings.settings import Settings

ANSWER_BYTES = 16 * 1024 * 1024
"""A result's output is at most 1 MiB; lists of tools and artifacts are the rest."""
METADATA_BYTES = 16 * 1024
STREAMS = 200
WORKING = 256
"""Calls at once; more are refused with RESOURCE_EXHAUSTED. A waiting call costs little."""
STOP_WITHIN_S = 3.0

log = logger("edge")


class GrpcServer:
    """Started and stopped with the edge."""

    def __init__(self, deps: AppDeps) -> None:
        self._deps = deps
        self._server: grpc.aio.Server | None = None
        self._health = health.aio.HealthServicer()

    async def start(self) -> None:
        """Listen. Raises `Misconfigured` where the port is taken or the certificate cannot be used."""
        settings = self._deps.settings
        server = grpc.aio.server(options=_options(settings), maximum_concurrent_rpcs=WORKING)
        server.add_generic_rpc_handlers((Tools(self._deps).handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server, pool=descriptor_pool.Default())
        address = f"[{settings.host}]" if ":" in settings.host else settings.host
        try:
            _open(server, f"{address}:{settings.grpc_port}", settings)
        except RuntimeError:
            raise Misconfigured(
                f"grpc_port {settings.grpc_port} on {settings.host} cannot be used; set another"
            ) from None
        await server.start()
        for name in ("", NAME):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._server = server

    async def stop(self) -> None:
        if self._server is not None:
            await self._health.enter_graceful_shutdown()
            await self._server.stop(STOP_WITHIN_S)


def _open(server: grpc.aio.Server, address: str, settings: Settings) -> None:
    certificate, key = settings.tls.certificate, settings.tls.key
    if certificate is None or key is None:
        server.add_insecure_port(address)
        return
    try:
        pair = (key.read_bytes(), certificate.read_bytes())
    except OSError as error:
        raise Misconfigured(f"tls: {error.filename} cannot be read ({error.strerror})") from None
    server.add_secure_port(address, grpc.ssl_server_credentials([pair]))


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),  # else a second process on the port is no error, and gets half of the calls
        ("grpc.max_receive_message_length", settings.limits.body_bytes),
        ("grpc.max_send_message_length", ANSWER_BYTES),
        ("grpc.max_metadata_size", METADATA_BYTES),
        ("grpc.max_concurrent_streams", STREAMS),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 3),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.max_connection_idle_ms", 30 * 60_000),
    ]
