"""The parts as they were started: what was set is read back, and the doors that shall be closed are."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import struct
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from operations.embedded.process import members
from operations.embedded.temporal import SEARCH_ATTRIBUTES, journal_mode
from tests.support import INNER, RunningStack

pytestmark = pytest.mark.alone

LISTEN = "0A"


def get_json(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=5) as answer:
        content: dict[str, object] = json.load(answer)
    return content


def listening(session: int) -> set[tuple[str, int]]:
    """Address and port of every listening TCP socket of a session, from the kernel."""
    inodes = set()
    for pid in members(session):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(descriptor)
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{session}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN and fields[9] in inodes:
                address, _, port = fields[1].partition(":")
                words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
                packed = b"".join(struct.pack("=I", word) for word in words)
                door = ipaddress.ip_address(packed)
                found.add((str(getattr(door, "ipv4_mapped", None) or door), int(port, 16)))
    return found


@pytest.mark.parametrize("part", INNER)
def test_listens_on_loopback_only(inner_stack: RunningStack, part: str) -> None:
    doors = listening(inner_stack.pid(part))
    assert doors
    assert {address for address, _ in doors} == {"127.0.0.1"}


@pytest.mark.parametrize("part", INNER)
def test_cannot_be_reached_at_another_address(inner_stack: RunningStack, part: str) -> None:
    port = int(inner_stack.address(part).rpartition(":")[2])
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", port), timeout=2).close()


@pytest.mark.parametrize("part", INNER)
def test_knows_nothing_of_portico_in_its_environment(inner_stack: RunningStack, part: str) -> None:
    environment = Path(f"/proc/{inner_stack.pid(part)}/environ").read_bytes()
    assert b"PORTICO" not in environment


def test_triton_sends_no_telemetry(inner_stack: RunningStack) -> None:
    environments = [Path(f"/proc/{pid}/environ").read_bytes() for pid in members(inner_stack.pid("triton"))]
    assert len(environments) >= 3, "the server and a stub for each model"
    assert all(b"ORT_DISABLE_TELEMETRY=1\0" in environment for environment in environments)


def test_temporal_has_the_retention_and_the_search_attributes(inner_stack: RunningStack) -> None:
    base = f"http://{inner_stack.address('temporal-http')}/api/v1/namespaces/default"
    assert get_json(base)["config"]["workflowExecutionRetentionTtl"] == f"{720 * 3600}s"  # type: ignore[index]
    attributes = get_json(f"{base}/search-attributes")["customAttributes"]
    assert set(SEARCH_ATTRIBUTES) <= set(attributes)  # type: ignore[call-overload]
    assert journal_mode(inner_stack.home.temporal / "temporal.db") == "wal"


def test_temporal_ui_lies_below_its_prefix_and_asks_no_outside_address(inner_stack: RunningStack) -> None:
    settings = get_json(f"http://{inner_stack.address('temporal-ui')}/temporal/api/v1/settings")
    assert settings["DisableNewsFetch"] is True
    assert settings["Codec"]["Endpoint"] == f"{inner_stack.url}/codec"  # type: ignore[index]


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_opa_answers_nobody_without_the_token(inner_stack: RunningStack, method: str) -> None:
    url = f"http://{inner_stack.address('opa')}/v1/policies/mine"
    request = urllib.request.Request(url, data=b"package mine" if method == "PUT" else None, method=method)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=5)
    refused.value.close()
    assert refused.value.code in (401, 403)


def test_triton_changes_models_only_for_who_has_the_key(inner_stack: RunningStack) -> None:
    client = InferenceServerClient(inner_stack.address("triton"))
    key = {"triton-grpc-protocol-portico-admin": inner_stack.credentials()["triton_admin_key"]}
    try:
        assert client.is_model_ready("understand")
        for refused in (client.get_model_repository_index, client.get_system_shared_memory_status):
            with pytest.raises(InferenceServerException, match="restricted"):
                refused()
        with pytest.raises(InferenceServerException, match="restricted"):
            client.load_model("text_encoder_fp32")
        names = {model.name for model in client.get_model_repository_index(headers=key).models}
        assert {"understand", "text_encoder", "text_encoder_fp32"} <= names
    finally:
        client.close()


def test_credentials_are_for_the_owner_alone(inner_stack: RunningStack) -> None:
    assert inner_stack.home.credentials.stat().st_mode & 0o777 == 0o600
    assert inner_stack.home.root.stat().st_mode & 0o777 == 0o700
    assert all(len(value) >= 20 for value in inner_stack.credentials().values())


def test_env_gives_addresses_to_a_shell(inner_stack: RunningStack) -> None:
    told = json.loads(inner_stack.run("env", "--json").stdout)
    assert told["TEMPORAL_ADDRESS"] == inner_stack.address("temporal")
    assert told["AWS_ENDPOINT_URL_S3"] == f"http://{inner_stack.address('s3')}"
    assert told["PORTICO_URL"] == inner_stack.url
    shell = inner_stack.run("env").stdout
    assert f"export TRITON_URL={inner_stack.address('triton')}" in shell
