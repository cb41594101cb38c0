from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import activity, workflow
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.worker import Worker

from operations.embedded import temporal as embedded
from portico.contracts.messages import TextPart
from portico.crypto.keyring import Keyring, open_keyring
from portico.crypto.sealing import seal_public_key
from portico.errors import Unavailable
from portico.settings.connections import Connections
from portico.settings.home import Home
from portico.storage.objects.blobs import BlobStore
from portico.temporal import client
from portico.temporal.client import connect, ensure_namespace
from portico.temporal.codec import RefusedPayload, SealingCodec
from tests.portico.servers import connections, s3_server, temporal_server

MASTER = bytes(range(32))
MARKER = "a-marker-that-nobody-may-read"
LARGE = 400_000


@activity.defn
async def echo(part: TextPart) -> TextPart:
    if part.text.startswith("fail"):
        raise RuntimeError(f"failed on {part.text}")
    return part


@workflow.defn(sandboxed=False)
class Echo:
    @workflow.run
    async def run(self, part: TextPart) -> TextPart:
        return await workflow.execute_activity(
            echo,
            part,
            start_to_close_timeout=timedelta(seconds=20),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="module")
def servers(folder: Path) -> Iterator[Connections]:
    with s3_server(folder) as s3, temporal_server(folder) as port:
        yield connections(s3=s3, temporal=port)


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return open_keyring(Home(tmp_path / "home"), MASTER)


async def echoed(client: Client, text: str, name: str) -> str:
    queue = f"queue-{name}"
    async with Worker(client, task_queue=queue, workflows=[Echo], activities=[echo]):
        answer = await client.execute_workflow(
            Echo.run, TextPart(text=text), id=f"echo-{name}", task_queue=queue
        )
    return answer.text


def readable(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and MARKER.encode() in path.read_bytes()]


async def test_a_server_that_is_away_is_unavailable(keyring: Keyring) -> None:
    with pytest.raises(Unavailable, match="temporal is unavailable"):
        await connect(connections(), keyring)


async def test_a_lazy_client_needs_no_server_yet(keyring: Keyring) -> None:
    assert await connect(connections(), keyring, lazy=True)


async def test_a_proxy_of_the_environment_is_not_used(
    servers: Connections, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    blobs = BlobStore(servers, keyring)
    await blobs.ensure_bucket()
    client = await connect(servers, keyring)
    assert await echoed(client, "x" * LARGE, "proxy") == "x" * LARGE
    blobs.close()


async def test_small_and_large_payloads_come_back_and_lie_nowhere_in_clear(
    servers: Connections, keyring: Keyring, folder: Path
) -> None:
    blobs = BlobStore(servers, keyring)
    await blobs.ensure_bucket()
    client = await connect(servers, keyring)
    large = MARKER * (LARGE // len(MARKER))
    assert await echoed(client, MARKER, "small") == MARKER
    assert await echoed(client, large, "large") == large
    assert list((folder / "data" / "portico" / "v0").rglob("echo-large"))
    assert not list((folder / "data" / "portico" / "v0").rglob("echo-small"))
    assert readable(folder) == []
    assert await blobs.prune(2e9) >= 1
    blobs.close()


async def test_what_a_reference_does_not_lead_to_is_refused_and_a_server_that_is_away_waited_for(
    servers: Connections, keyring: Keyring
) -> None:
    blobs = BlobStore(servers, keyring)
    await blobs.ensure_bucket()
    converter = (await connect(servers, keyring)).data_converter
    (reference,) = await converter.encode([TextPart(text="z" * LARGE)])
    assert await converter.decode([reference], [TextPart]) == [TextPart(text="z" * LARGE)]
    away = replace(servers, s3_url="http://127.0.0.1:1")
    with pytest.raises(RuntimeError, match="retrieve failed"):
        await (await connect(away, keyring, lazy=True)).data_converter.decode([reference], [TextPart])
    assert await blobs.prune(2e9) >= 1
    with pytest.raises(RefusedPayload):
        await converter.decode([reference], [TextPart])
    blobs.close()


async def test_the_first_large_payload_makes_the_bucket(servers: Connections, keyring: Keyring) -> None:
    client = await connect(replace(servers, bucket="not-yet-there"), keyring)
    assert await echoed(client, "y" * LARGE, "first") == "y" * LARGE


async def test_failures_lie_nowhere_in_clear(servers: Connections, keyring: Keyring, folder: Path) -> None:
    client = await connect(servers, keyring)
    with pytest.raises(WorkflowFailureError) as caught:
        await echoed(client, f"fail {MARKER}", "failure")
    assert MARKER in str(caught.value.cause.__cause__)
    assert readable(folder) == []


async def test_an_edge_that_only_seals_starts_what_the_core_reads(
    servers: Connections, keyring: Keyring
) -> None:
    edge = await connect(servers, keyring, codec=SealingCodec(*seal_public_key(keyring)), s3=False)
    core = await connect(servers, keyring)
    async with Worker(core, task_queue="sealed", workflows=[Echo], activities=[echo]):
        handle = await edge.start_workflow(
            Echo.run, TextPart(text="hello"), id="echo-sealed", task_queue="sealed"
        )
        answer = await core.get_workflow_handle_for(Echo.run, handle.id).result()
    assert answer.text == "hello"


async def test_plain_text_that_somebody_puts_in_is_refused(servers: Connections, keyring: Keyring) -> None:
    core = await connect(servers, keyring)
    stranger = await Client.connect(servers.temporal)
    async with Worker(core, task_queue="injected", workflows=[Echo], activities=[echo]):
        handle = await stranger.start_workflow(
            "Echo", {"text": "hi"}, id="echo-injected", task_queue="injected"
        )
        await _failed_task(handle.id, stranger)
    await handle.terminate()


async def _failed_task(workflow_id: str, client: Client) -> None:
    """Returns when the worker has refused a task of the workflow."""
    for _ in range(100):
        async for event in client.get_workflow_handle(workflow_id).fetch_history_events():
            if event.HasField("workflow_task_failed_event_attributes"):
                return
            assert not event.HasField("activity_task_scheduled_event_attributes")
        await asyncio.sleep(0.1)
    raise AssertionError("the task was not refused")


async def test_a_namespace_gets_what_it_needs(servers: Connections, keyring: Keyring) -> None:
    client = await connect(servers, keyring)
    for days in (30, 12, 12):
        await ensure_namespace(client, days)
        answer = await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace="default")
        )
        assert answer.config.workflow_execution_retention_ttl.seconds == days * 86_400


def test_the_embedded_stack_sets_the_same_search_attributes() -> None:
    assert client.SEARCH_ATTRIBUTES == embedded.SEARCH_ATTRIBUTES
