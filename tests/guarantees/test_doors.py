"""Who stands before the inner doors: another address of this machine, another machine, another user of it.

What is open on loopback, and to whom: Temporal's development server has no authentication, so any local process
reaches it. Its payloads are encrypted, and what is not encrypted with our key is never executed as a message.
The edge (8080) is the only door with a promise to strangers.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from operations import probes
from tests.support import RunningStack, until

pytestmark = pytest.mark.alone

NOBODY = 65534


DOORS = (
    "temporal",
    "temporal-ui",
    "temporal-http",
    "temporal-metrics",
    "opa",
    "s3",
    "triton",
    "triton-metrics",
    "api",
)


as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user or machine")


def port(stack: RunningStack, door: str) -> int:
    return int(stack.address(door).rpartition(":")[2])


def own_addresses() -> list[str]:
    """Addresses of this machine besides 127.0.0.1."""
    found = {"127.0.0.2"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent; it tells the address that would be used
            found.add(probe.getsockname()[0])
        except OSError:
            pass
    return sorted(found)


@pytest.mark.parametrize("door", DOORS)
def test_no_door_is_open_at_another_address(stack: RunningStack, door: str) -> None:
    for address in own_addresses():
        with pytest.raises(OSError):
            socket.create_connection((address, port(stack, door)), timeout=2).close()
    with pytest.raises(OSError):
        socket.create_connection(("::1", port(stack, door)), timeout=2).close()
    socket.create_connection(("127.0.0.1", port(stack, door)), timeout=2).close()


@pytest.fixture
def cable() -> Iterator[str]:
    """Another machine's end: a namespace joined to this one by a cable; gives the address of this end."""
    name, here, there = f"pt{os.getpid() % 10_000}", "10.213.7.1", "10.213.7.2"
    holder = subprocess.Popen(("unshare", "-n", "sleep", "120"))
    try:
        until(
            lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != os.readlink("/proc/self/ns/net"), timeout_s=5
        )
        _ip("link", "add", name, "type", "veth", "peer", "name", "far", "netns", str(holder.pid))
        _ip("addr", "add", f"{here}/30", "dev", name)
        _ip("link", "set", name, "up")
        inside = ("nsenter", "-t", str(holder.pid), "-n", "ip")
        subprocess.run((*inside, "addr", "add", f"{there}/30", "dev", "far"), check=True)
        subprocess.run((*inside, "link", "set", "far", "up"), check=True)
        yield f"{holder.pid} {here}"
    finally:
        holder.kill()
        holder.wait()
        subprocess.run(("ip", "link", "del", name), check=False, capture_output=True)


def _ip(*arguments: str) -> None:
    done = subprocess.run(("ip", *arguments), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this machine makes no virtual cable: {done.stderr.strip()}")


KNOCK = """
import json, socket, sys
host, *ports = sys.argv[1:]
open_ones = []
for port in ports:
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
        open_ones.append(port)
    except OSError:
        pass
print(json.dumps(open_ones))
"""


@as_root
def test_no_door_is_open_to_another_machine(stack: RunningStack, cable: str) -> None:
    holder, here = cable.split()
    with socket.create_server((here, 0)) as open_door:
        known = open_door.getsockname()[1]
        ports = [str(known), *(str(port(stack, door)) for door in DOORS)]
        inside = ("nsenter", "-t", holder, "-n", sys.executable, "-c", KNOCK, here, *ports)
        answer = subprocess.run(inside, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(answer.stdout) == [str(known)], "only the door that this test has opened"


def as_nobody(work: Callable[[], Any]) -> Any:
    """What `work` gives, done by another user of this machine: a fork, because nobody may read this checkout."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(writing, json.dumps(work()).encode())
        finally:
            if sys.exc_info()[0] is not None:
                traceback.print_exc()
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return json.loads(text)


def status_of(url: str, *, method: str = "GET", body: bytes | None = None) -> int:
    request = urllib.request.Request(url, data=body, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@as_root
def test_another_user_asks_policy_in_vain(stack: RunningStack) -> None:
    base = f"http://{stack.address('opa')}"
    asked = {"input": {"actor": {"role": "owner"}}}
    tries = [
        ("GET", "/v1/data", None),
        ("POST", "/v1/data/portico/tool/decision", json.dumps(asked).encode()),
        ("GET", "/v1/policies", None),
        ("PUT", "/v1/policies/mine", b"package portico.user.tool"),
        ("PUT", "/v1/data/portico", b"{}"),
        ("DELETE", "/v1/policies/portico", None),
        ("GET", "/v1/config", None),
    ]
    told = as_nobody(lambda: [status_of(base + path, method=how, body=body) for how, path, body in tries])
    assert set(told) <= {401, 403}, told


def store_one(stack: RunningStack) -> None:
    """A message with an attachment, so that there is a bucket."""
    body = {"text": "", "attachments": [{"name": "a.txt", "data": "aGVsbG8="}]}
    request = urllib.request.Request(
        f"{stack.url}/v1/messages",
        data=json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer {stack.home.cli_key.read_text().strip()}",
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 202


@as_root
def test_another_user_reads_and_writes_no_blob(stack: RunningStack) -> None:
    store_one(stack)
    base = f"http://{stack.address('s3')}/portico"
    told = as_nobody(
        lambda: [
            status_of(base),
            status_of(f"{base}?list-type=2"),
            status_of(f"{base}/mine", method="PUT", body=b"x"),
        ]
    )
    assert set(told) <= {401, 403}, told


@as_root
def test_another_user_loads_no_model(stack: RunningStack) -> None:
    address = stack.address("triton")

    def load() -> list[bool]:
        name = b"\x12\x12text_encoder_fp32"
        methods = (
            "/inference.GRPCInferenceService/RepositoryModelLoad",
            "/inference.GRPCInferenceService/RepositoryModelUnload",
        )
        ready = "/inference.GRPCInferenceService/ServerReady"
        done = [asyncio.run(probes.grpc_true(address, method, name)) for method in methods]
        return [*done, asyncio.run(probes.grpc_true(address, ready))]

    assert as_nobody(load) == [False, False, True]
    assert stack.is_ready("triton")
    assert "391" in stack.run("send", "What is 17 * 23?").stdout


@as_root
def test_another_user_sees_no_file_and_no_live_update(stack: RunningStack) -> None:
    paths = [path for path in stack.home.root.rglob("*") if path.is_file() or path.is_socket()]
    assert stack.home.live_socket in paths

    def look() -> list[str]:
        found = []
        for path in paths:
            try:
                if path.is_socket():
                    with socket.socket(socket.AF_UNIX) as client:
                        client.connect(str(path))
                else:
                    path.read_bytes()
                found.append(str(path))
            except OSError:
                continue
        return found

    assert as_nobody(look) == []


KEYS = ("cli_key", "opa_token", "s3_access_key", "s3_secret_key", "triton_admin_key")


@as_root
@pytest.mark.parametrize("key", KEYS)
def test_another_user_sees_no_key_in_a_process(stack: RunningStack, key: str) -> None:
    pids = [stack.pid(part) for part in ("temporal", "opa", "s3", "triton", "worker", "api")]
    secret = ({"cli_key": stack.home.cli_key.read_text().strip()} | stack.credentials())[key]

    def look() -> list[int]:
        told = []
        for pid in pids:
            for name in ("environ", "cmdline"):
                try:
                    content = Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
                except OSError:
                    continue
                told += [pid] if secret in content else []
        return told

    assert as_nobody(look) == []
