"""What gRPC alone has: deadlines, details of errors, limits, health, reflection, TLS, and generated code."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from google.rpc.error_details_pb2 import RetryInfo
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from api.limits import WATCHED_AT_ONCE
from api.protos.generate import MADE, TARGET, generate
from api.tools.grpc import tools_pb2 as pb
from api.tools.grpc.server import GrpcServer
from portico.errors import Misconfigured
from portico.settings.settings import Settings
from tests.api.test_tls import make_certificate
from tests.api.tools.support import Doors, Grpc, by_grpc, reason, status_of, violations
from tests.portico.servers import free_port

RUNNING = pb.ExecutionStatus.EXECUTION_STATUS_RUNNING
SUCCEEDED = pb.ExecutionStatus.EXECUTION_STATUS_SUCCEEDED
CANCELLED = pb.ExecutionStatus.EXECUTION_STATUS_CANCELLED
CODE = grpc.StatusCode


@pytest.fixture
async def door(doors: Doors) -> AsyncIterator[Grpc]:
    key = await asyncio.to_thread(doors.key, "member")
    async with by_grpc(doors, key) as opened:
        assert isinstance(opened, Grpc)
        yield opened


async def refused(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


def listed(door: Grpc) -> Any:
    return door.unary("List", pb.ListRequest, pb.ListResponse)(pb.ListRequest())


def cancelled(door: Grpc, invocation_id: str) -> Any:
    request = pb.CancelRequest(invocation_id=invocation_id)
    return door.unary("Cancel", pb.CancelRequest, pb.ExecutionResult)(request)


@pytest.mark.parametrize("key", ["", "pk_guessed", "Bearer"])
async def test_nobody_comes_in_without_a_key(doors: Doors, key: str) -> None:
    async with by_grpc(doors, key) as opened:
        assert isinstance(opened, Grpc)
        for call in (
            listed(opened),
            opened.invoke("calculator", {"expression": "1"}),
            cancelled(opened, "tool-x"),
        ):
            error = await refused(call)
            assert (error.code(), reason(error)) == (CODE.UNAUTHENTICATED, "refused")
        error = await refused(anext(aiter(opened.watch("tool-x"))))
        assert error.code() is CODE.UNAUTHENTICATED


async def test_faults_come_as_field_violations(door: Grpc) -> None:
    error = await refused(door.invoke("nap", {"seconds": "long", "depth": 1}))
    assert error.code() is CODE.INVALID_ARGUMENT
    assert violations(error) == {"depth": "no such parameter", "seconds": "must be a number"}
    assert (await refused(door.invoke("napp", {}))).code() is CODE.NOT_FOUND


@pytest.mark.parametrize("text", ["{", "[1]", "nul", '{"seconds": 1} x'])
async def test_parameters_that_are_no_json_object(door: Grpc, text: str) -> None:
    request = pb.InvokeRequest(tool_name="nap", parameters_json=text)
    error = await refused(door.unary("Invoke", pb.InvokeRequest, pb.ExecutionResult)(request))
    assert (error.code(), reason(error)) == (CODE.INVALID_ARGUMENT, "unreadable")


async def test_too_much_at_once_is_refused(door: Grpc) -> None:
    request = pb.InvokeRequest(tool_name="nap", parameters_json=" " * 300_000 + "{}")
    error = await refused(door.unary("Invoke", pb.InvokeRequest, pb.ExecutionResult)(request))
    assert error.code() is CODE.RESOURCE_EXHAUSTED
    for wait_s in (-1.0, 61.0, float("nan")):
        error = await refused(door.invoke("calculator", {"expression": "1"}, wait_s=wait_s))
        assert error.code() is CODE.INVALID_ARGUMENT


async def test_another_persons_run_is_none(doors: Doors, door: Grpc) -> None:
    mine = (await door.invoke("calculator", {"expression": "1"}, wait_s=20)).invocation_id
    other_key = await asyncio.to_thread(doors.key, "service")
    async with by_grpc(doors, other_key) as other:
        assert isinstance(other, Grpc)
        for invocation_id in (mine, "tool-nothing", "", "conversation-1", "../x", "tool-" + "x" * 1000):
            assert (await refused(cancelled(other, invocation_id))).code() is CODE.NOT_FOUND
            assert (await refused(anext(aiter(other.watch(invocation_id))))).code() is CODE.NOT_FOUND


async def test_numbers_stay_what_they_are(door: Grpc) -> None:
    painted = await door.invoke("paint", {"size": 3}, wait_s=20)
    assert painted.status == SUCCEEDED
    assert MessageToDict(painted.output) == {"size": 3.0, "large": str(2**60)}
    assert [(one.name, one.media_type) for one in painted.artifacts] == [
        ("pixel.png", "image/png"),
        ("words.txt", "text/plain"),
    ]
    request = pb.InvokeRequest(tool_name="paint", parameters_json='{"size": 2}', wait_s=20)
    exact = await door.unary("Invoke", pb.InvokeRequest, pb.ExecutionResult)(request)
    assert exact.status == SUCCEEDED


async def test_a_deadline_gives_the_runs_id_and_not_nothing(door: Grpc) -> None:
    request = pb.InvokeRequest(tool_name="nap", wait_s=60)
    request.parameters["seconds"] = 40
    found = await door.unary("Invoke", pb.InvokeRequest, pb.ExecutionResult)(request, timeout=2.0)
    assert found.status == RUNNING
    assert (await cancelled(door, found.invocation_id)).status == CANCELLED


async def test_the_same_key_is_the_same_run(door: Grpc) -> None:
    first = await door.invoke("calculator", {"expression": "1+1"}, idempotency_key="k1", wait_s=20)
    again = await door.invoke("calculator", {"expression": "1+1"}, idempotency_key="k1", wait_s=20)
    assert first.invocation_id == again.invocation_id
    error = await refused(door.invoke("calculator", {"expression": "2+2"}, idempotency_key="k1"))
    assert error.code() is CODE.FAILED_PRECONDITION


async def test_who_hangs_up_leaves_their_place(door: Grpc) -> None:
    invocation_id = (await door.invoke("nap", {"seconds": 50})).invocation_id
    async with AsyncExitStack() as held:
        for _ in range(WATCHED_AT_ONCE):
            call = door.watch(invocation_id)
            held.callback(call.cancel)
            await anext(aiter(call))
        error = await refused(anext(aiter(door.watch(invocation_id))))
        assert error.code() is CODE.RESOURCE_EXHAUSTED
        retry = RetryInfo()
        assert any(detail.Unpack(retry) for detail in status_of(error).details)
        assert retry.retry_delay.seconds > 0
    async with asyncio.timeout(10):
        while True:
            call = door.watch(invocation_id)
            try:
                await anext(aiter(call))
                break
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.1)
    assert (await cancelled(door, invocation_id)).status == CANCELLED
    events = [event async for event in call]
    assert events[-1].ended.status == CANCELLED


async def test_health_and_reflection_answer(doors: Doors) -> None:
    async with grpc.aio.insecure_channel(doors.running.address("api-grpc")) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "portico.v1.Tools"):
            found = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert found.status == health_pb2.HealthCheckResponse.SERVING
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="portico.v1.Tools"),
        ]
        answers = [answer async for answer in stub.ServerReflectionInfo(iter(asked))]
        services = {service.name for service in answers[0].list_services_response.service}
        assert {"portico.v1.Tools", "grpc.health.v1.Health"} <= services
        assert answers[1].file_descriptor_response.file_descriptor_proto


async def test_a_taken_port_is_said(doors: Doors) -> None:
    port = int(doors.running.address("api-grpc").rpartition(":")[2])
    deps: Any = SimpleNamespace(settings=Settings(grpc_port=port))
    with pytest.raises(Misconfigured, match=f"grpc_port {port}"):
        await GrpcServer(deps).start()


async def test_with_a_certificate_it_speaks_tls_alone(tmp_path: Path) -> None:
    async def nobody(token: str) -> None:
        return None

    port = free_port()
    certificate, key = make_certificate(tmp_path)
    tls = {"certificate": str(certificate), "key": str(key)}
    settings = Settings.model_validate({"grpc_port": port, "tls": tls})
    deps: Any = SimpleNamespace(settings=settings, access=SimpleNamespace(check_key=nobody))
    opened = GrpcServer(deps)
    await opened.start()
    try:
        trusted = grpc.ssl_channel_credentials(certificate.read_bytes())
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", trusted) as channel:
            assert (await refused(listed(Grpc(channel, "pk_x")))).code() is CODE.UNAUTHENTICATED
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as plain:
            error = await refused(listed(Grpc(plain, "pk_x")))
            assert error.code() is CODE.UNAVAILABLE
    finally:
        await opened.stop()


def test_the_generated_code_is_that_of_the_definitions(tmp_path: Path) -> None:
    generate(tmp_path)
    for name in MADE:
        assert (tmp_path / name).read_bytes() == (TARGET / name).read_bytes(), (
            "run python -m api.protos.generate"
        )
