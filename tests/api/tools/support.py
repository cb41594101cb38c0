"""The doors as their own clients open them, and one way to say what came of a call."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import httpx2
from google.protobuf.json_format import MessageToDict
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from api.tools.grpc import tools_pb2 as pb
from portico.crypto.keyring import open_keyring
from portico.storage.access import Access
from portico.storage.engine.database import Database
from tests.fakes.hook import FakeReceiver
from tests.portico.tools.mcp.test_source import Strange
from tests.support import RunningStack

WAIT_S = 30.0


class Doors:
    """The stack, and who comes to it."""

    def __init__(self, running: RunningStack, receiver: FakeReceiver, strange: Strange) -> None:
        self.running = running
        self.receiver = receiver
        self.strange = strange
        self._keys: dict[str, str] = {}

    @property
    def url(self) -> str:
        return self.running.url

    @property
    def owner_key(self) -> str:
        return self.running.home.cli_key.read_text().strip()

    def key(self, role: str) -> str:
        """A key of somebody with this role; always the same one."""
        if role not in self._keys:
            self._keys[role] = asyncio.run(self._new_key(role))
        return self._keys[role]

    async def _new_key(self, role: str) -> str:
        database = Database.open(self.running.home, open_keyring(self.running.home))
        try:
            return await Access(database).create_key(role, f"{role} of a test")
        finally:
            database.close()

    def client(self, key: str = "") -> httpx2.Client:
        headers = {"Authorization": f"Bearer {key or self.owner_key}"}
        return httpx2.Client(base_url=self.url, headers=headers, trust_env=False, timeout=70)


@dataclass(frozen=True)
class Answer:
    """What a door says, whatever its way of saying it. `status` is empty where nothing was started."""

    status: str
    code: str
    words: str
    output: Any = None


class Going(Protocol):
    """A call that goes on."""

    async def told(self) -> str:
        """The first progress."""
        ...

    async def stop(self) -> None: ...


class Door(Protocol):
    async def call(self, name: str, parameters: dict[str, Any]) -> Answer: ...

    async def begin(self, name: str, parameters: dict[str, Any]) -> Going: ...

    async def tools(self) -> set[str]: ...


@contextlib.asynccontextmanager
async def rest(doors: Doors, key: str) -> AsyncIterator[Door]:
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(base_url=doors.url, headers=headers, trust_env=False, timeout=70) as http:
        yield Rest(http)


class Rest:
    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    async def call(self, name: str, parameters: dict[str, Any]) -> Answer:
        body = {"toolName": name, "parameters": parameters}
        answer = await self.http.post("/v1/invocations", json=body, params={"wait_s": WAIT_S})
        found = answer.json()
        if answer.status_code >= 400:
            return Answer("", found["code"], found["title"])
        return answer_of(found)

    async def begin(self, name: str, parameters: dict[str, Any]) -> Going:
        body = {"toolName": name, "parameters": parameters}
        answer = await self.http.post("/v1/invocations", json=body)
        return RestGoing(self.http, answer.json()["invocationId"])

    async def tools(self) -> set[str]:
        return {tool["name"] for tool in (await self.http.get("/v1/tools")).json()}


class RestGoing:
    def __init__(self, http: httpx2.AsyncClient, invocation_id: str) -> None:
        self._http = http
        self._id = invocation_id

    async def told(self) -> str:
        async with self._http.stream("GET", f"/v1/invocations/{self._id}/events") as events:
            async for line in events.aiter_lines():
                if line.startswith("data: ") and self._id in line:
                    return self._id
        raise AssertionError("the stream ended")

    async def stop(self) -> None:
        await self._http.post(f"/v1/invocations/{self._id}/cancel")


@contextlib.asynccontextmanager
async def by_grpc(doors: Doors, key: str) -> AsyncIterator[Door]:
    async with grpc.aio.insecure_channel(doors.running.address("api-grpc")) as channel:
        yield Grpc(channel, key)


class Grpc:
    def __init__(self, channel: grpc.aio.Channel, key: str) -> None:
        self._channel = channel
        self.metadata = (("authorization", f"Bearer {key}"),) if key else ()

    def unary(self, name: str, request: type, answer: type) -> Any:
        method = self._channel.unary_unary(
            f"/portico.v1.Tools/{name}",
            request.SerializeToString,  # type: ignore[attr-defined]
            answer.FromString,  # type: ignore[attr-defined]
        )
        return lambda message, **more: method(message, metadata=self.metadata, **more)

    def watch(self, invocation_id: str) -> Any:
        method = self._channel.unary_stream(
            "/portico.v1.Tools/Watch", pb.WatchRequest.SerializeToString, pb.ToolEvent.FromString
        )
        return method(pb.WatchRequest(invocation_id=invocation_id), metadata=self.metadata)

    async def invoke(self, name: str, parameters: dict[str, Any], *, wait_s: float = 0, **more: Any) -> Any:
        request = pb.InvokeRequest(tool_name=name, wait_s=wait_s, **more)
        request.parameters.update(parameters)
        return await self.unary("Invoke", pb.InvokeRequest, pb.ExecutionResult)(request)

    async def call(self, name: str, parameters: dict[str, Any]) -> Answer:
        try:
            found = await self.invoke(name, parameters, wait_s=WAIT_S)
        except grpc.aio.AioRpcError as error:
            return Answer("", reason(error), str(error.details()))
        said = MessageToDict(found)
        return answer_of({**said, "status": said["status"].removeprefix("EXECUTION_STATUS_").lower()})

    async def begin(self, name: str, parameters: dict[str, Any]) -> Going:
        return GrpcGoing(self, (await self.invoke(name, parameters)).invocation_id)

    async def tools(self) -> set[str]:
        found = await self.unary("List", pb.ListRequest, pb.ListResponse)(pb.ListRequest())
        return {tool.name for tool in found.tools}


class GrpcGoing:
    def __init__(self, door: Grpc, invocation_id: str) -> None:
        self._door = door
        self._id = invocation_id

    async def told(self) -> str:
        async for event in self._door.watch(self._id):
            if event.progress.text == self._id:
                return self._id
        raise AssertionError("the stream ended")

    async def stop(self) -> None:
        request = pb.CancelRequest(invocation_id=self._id)
        await self._door.unary("Cancel", pb.CancelRequest, pb.ExecutionResult)(request)


def status_of(error: grpc.aio.AioRpcError) -> Status:
    found = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    return Status.FromString(found)


def reason(error: grpc.aio.AioRpcError) -> str:
    info = ErrorInfo()
    status_of(error).details[0].Unpack(info)
    return str(info.reason)


def violations(error: grpc.aio.AioRpcError) -> dict[str, str]:
    bad = BadRequest()
    for detail in status_of(error).details:
        detail.Unpack(bad)
    return {one.field: one.description for one in bad.field_violations}


@contextlib.asynccontextmanager
async def by_mcp(doors: Doors, key: str, *, mode: str = "auto") -> AsyncIterator[Door]:
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=70) as http,
        Client(streamable_http_client(f"{doors.url}/mcp", http_client=http), mode=mode, cache=None) as client,
    ):
        yield Mcp(client)


@contextlib.asynccontextmanager
async def by_mcp_before(doors: Doors, key: str) -> AsyncIterator[Door]:
    async with by_mcp(doors, key, mode="legacy") as door:
        yield door


class Mcp:
    def __init__(self, client: Client) -> None:
        self.client = client

    async def call(self, name: str, parameters: dict[str, Any]) -> Answer:
        try:
            found = await self.client.call_tool(name, parameters)
        except MCPError as error:
            return Answer("", "no_such_tool", error.error.message)
        words = "\n".join(block.text for block in found.content if block.type == "text")
        if not found.is_error:
            return Answer("succeeded", "", "", found.structured_content or words)
        code, _, message = words.partition(": ")
        return Answer((found.meta or {}).get("portico/status", ""), code, message)

    async def begin(self, name: str, parameters: dict[str, Any]) -> Going:
        return McpGoing(self.client, name, parameters)

    async def tools(self) -> set[str]:
        return {tool.name for tool in (await self.client.list_tools()).tools}


class McpGoing:
    def __init__(self, client: Client, name: str, parameters: dict[str, Any]) -> None:
        self._said: asyncio.Queue[str] = asyncio.Queue()
        self._call = asyncio.create_task(client.call_tool(name, parameters, progress_callback=self._heard))

    async def _heard(self, progress: float, total: float | None, message: str | None) -> None:
        if message:
            self._said.put_nowait(message)

    async def told(self) -> str:
        async with asyncio.timeout(WAIT_S):
            return await self._said.get()

    async def stop(self) -> None:
        self._call.cancel()
        await asyncio.gather(self._call, return_exceptions=True)


def answer_of(result: dict[str, Any]) -> Answer:
    """A result in camelCase."""
    error = result.get("error") or {}
    return Answer(result["status"], error.get("code", ""), error.get("message", ""), result.get("output"))
