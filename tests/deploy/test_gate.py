"""The gate before Temporal: Caddy with the shipped file, mutual TLS, and what an edge's certificate opens."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    GetWorkflowExecutionHistoryRequest,
    ListWorkflowExecutionsRequest,
    QueryWorkflowRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode, TLSConfig

from operations.deploy.certificates import Authority
from operations.deploy.edge import write_gate, write_passport
from tests.deploy.machine import program
from tests.guarantees.platforms import Bot, new_chat
from tests.operations.deploy.test_edge import SECRET, SETTINGS, is_ready, start_edge
from tests.portico.servers import free_port
from tests.support import CHECKOUT, RunningStack, until

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(600)]
GATEFILE = CHECKOUT / "infra" / "docker" / "caddy" / "gate.Caddyfile"


@dataclass
class Gated:
    core: RunningStack
    bot: Bot
    folder: Path
    keys: Path
    port: int

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def tls(self, *, certificate: str = "edge") -> TLSConfig:
        secrets = self.folder / "secrets"
        return TLSConfig(
            server_root_ca_cert=(secrets / "gate-ca.crt").read_bytes(),
            client_cert=(secrets / f"{certificate}.crt").read_bytes() if certificate else None,
            client_private_key=(secrets / f"{certificate}.key").read_bytes() if certificate else None,
        )


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with Bot() as bot:
        home = tmp_path_factory.mktemp("core")
        settings = SETTINGS.format(token=bot.token, bot=bot.url)
        core = RunningStack(home, settings=settings, only=("temporal", "opa", "s3", "worker"))
        assert core.run("secrets", "set", "telegram", stdin=SECRET + "\n").returncode == 0
        port, folder = free_port(), tmp_path_factory.mktemp("dmz") / "edge"
        try:
            core.start()
            made = core.run("deploy", "edge", str(folder), "--gate", f"127.0.0.1:{port}")
            assert made.returncode == 0, made.stderr
            keys = home / "gate"
            own = tmp_path_factory.mktemp("caddy")
            with running_gate(own, keys=keys, port=port, temporal=core.address("temporal")) as caddy:
                made_here = Gated(core, bot, folder, keys, port)
                until(lambda: caddy.poll() is not None or answers(made_here), timeout_s=20)
                assert caddy.poll() is None, (own / "caddy.log").read_text()[-2000:]
                yield made_here
        finally:
            core.stop()


@contextmanager
def running_gate(own: Path, *, keys: Path, port: int, temporal: str) -> Iterator[subprocess.Popen[bytes]]:
    """Caddy with the shipped file; it may not listen yet."""
    with (own / "caddy.log").open("ab") as log:
        caddy = subprocess.Popen(
            (program("caddy"), "run", "--config", GATEFILE, "--adapter", "caddyfile"),
            env={
                **os.environ,
                "HOME": str(own),
                "PORTICO_GATE_PORT": str(port),
                "PORTICO_GATE_BIND": "127.0.0.1",
                "PORTICO_GATE_FOLDER": str(keys),
                "PORTICO_GATE_TEMPORAL": temporal,
            },
            stdout=log,
            stderr=log,
        )
    try:
        yield caddy
    finally:
        caddy.terminate()
        caddy.wait()


def answers(gated: Gated) -> bool:
    try:
        asyncio.run(Client.connect(gated.address, tls=gated.tls()))
    except RuntimeError:
        return False
    return True


def test_an_event_goes_through_the_gate_and_is_answered(gated: Gated) -> None:
    port = free_port()
    process = start_edge(gated.folder, port)
    try:
        until(lambda: is_ready(f"http://127.0.0.1:{port}") or process.poll() is not None, timeout_s=60)
        assert process.poll() is None, process.communicate()
        chat = new_chat()
        webhook = f"http://127.0.0.1:{port}/webhooks/telegram"
        assert gated.bot.deliver(webhook, gated.bot.text("/heron", chat=chat), secret=SECRET) == 200
        (reply,) = gated.bot.wait_for_messages(1, chat=chat, timeout_s=60)
        assert "/heron" in reply.text
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


OTHER_CALLS: dict[str, Callable[[Client], Any]] = {
    "list": lambda client: client.workflow_service.list_workflow_executions(
        ListWorkflowExecutionsRequest(namespace="default")
    ),
    "history": lambda client: client.workflow_service.get_workflow_execution_history(
        GetWorkflowExecutionHistoryRequest(namespace="default", execution=WorkflowExecution(workflow_id="x"))
    ),
    "query": lambda client: client.workflow_service.query_workflow(QueryWorkflowRequest(namespace="default")),
    "start": lambda client: client.workflow_service.start_workflow_execution(
        StartWorkflowExecutionRequest(namespace="default", workflow_id="x")
    ),
    "signal": lambda client: client.workflow_service.signal_workflow_execution(
        SignalWorkflowExecutionRequest(namespace="default")
    ),
    "terminate": lambda client: client.workflow_service.terminate_workflow_execution(
        TerminateWorkflowExecutionRequest(namespace="default")
    ),
    "namespace": lambda client: client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace="default")
    ),
}


@pytest.mark.parametrize("call", OTHER_CALLS)
async def test_nothing_else_goes_through(gated: Gated, call: str) -> None:
    client = await Client.connect(gated.address, tls=gated.tls())
    with pytest.raises(RPCError) as raised:
        await OTHER_CALLS[call](client)
    assert raised.value.status is RPCStatusCode.PERMISSION_DENIED
    direct = await Client.connect(gated.core.address("temporal"))
    try:
        await OTHER_CALLS[call](direct)
    except RPCError as error:
        assert error.status is not RPCStatusCode.PERMISSION_DENIED, "it is the gate that refuses"


async def test_nobody_knocks_without_a_certificate_of_this_core(gated: Gated, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        await Client.connect(gated.address, tls=gated.tls(certificate=""))
    write_gate(tmp_path / "other", host="127.0.0.1")
    write_passport(tmp_path / "edge", Authority(tmp_path / "other"))
    foreign = TLSConfig(
        server_root_ca_cert=gated.tls().server_root_ca_cert,
        client_cert=(tmp_path / "edge" / "secrets" / "edge.crt").read_bytes(),
        client_private_key=(tmp_path / "edge" / "secrets" / "edge.key").read_bytes(),
    )
    with pytest.raises(RuntimeError):
        await Client.connect(gated.address, tls=foreign)


def lets_in(edge: Path, port: int) -> bool:
    """Whether the gate takes this edge's certificate, and the edge the gate's."""
    secrets = edge / "secrets"
    context = ssl.create_default_context(cafile=str(secrets / "gate-ca.crt"))
    context.load_cert_chain(secrets / "edge.crt", secrets / "edge.key")
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as sealed,
        ):
            sealed.sendall(b"GET / HTTP/1.1\r\nHost: gate\r\n\r\n")
            return sealed.recv(12) == b"HTTP/1.1 403"
    except OSError:
        return False


def test_keys_made_anew_or_renewed_count_from_the_gates_next_start(tmp_path: Path) -> None:
    """As docs/hybrid.md says of a host that was taken."""
    port, keys = free_port(), tmp_path / "gate"
    write_passport(tmp_path / "taken", write_gate(keys, host="127.0.0.1"))
    with running_gate(tmp_path, keys=keys, port=port, temporal="127.0.0.1:1"):
        until(lambda: lets_in(tmp_path / "taken", port), timeout_s=20)
        shutil.rmtree(keys)
        write_passport(tmp_path / "new", write_gate(keys, host="127.0.0.1"))
        assert lets_in(tmp_path / "taken", port) and not lets_in(tmp_path / "new", port)
    with running_gate(tmp_path, keys=keys, port=port, temporal="127.0.0.1:1"):
        until(lambda: lets_in(tmp_path / "new", port), timeout_s=20)
        assert not lets_in(tmp_path / "taken", port)
        write_passport(tmp_path / "renewed", write_gate(keys, renew=True))
        assert lets_in(tmp_path / "new", port) and lets_in(tmp_path / "renewed", port), "no hurry"


async def test_older_tls_is_refused(gated: Gated) -> None:
    context = ssl.create_default_context(cafile=str(gated.folder / "secrets" / "gate-ca.crt"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        await asyncio.open_connection("127.0.0.1", gated.port, ssl=context)
