"""Who reaches whom, tried from inside each container's network: the world, the host, and the other zones."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.deploy.deployment import PROJECT, Deployment
from tests.support import CHECKOUT

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(2400)]
DOORS = {
    "api": 8080,
    "caddy": 8443,
    "opa": 8181,
    "postgres": 5432,
    "s3": 7070,
    "sandbox": 8090,
    "temporal": 7233,
    "temporal-ui": 8080,
    "triton": 8001,
}
INNER = ("opa", "postgres", "s3", "sandbox", "temporal", "temporal-ui", "triton")
WORLD = (("1.1.1.1", 443), ("8.8.8.8", 53), ("192.0.2.1", 80))
PROBE = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor

def connect(door):
    try:
        return socket.create_connection(door, timeout=4)
    except OSError:
        return None

with ThreadPoolExecutor(32) as pool:
    held = list(pool.map(connect, [tuple(door) for door in json.loads(sys.argv[1])]))
print(json.dumps([one.getsockname()[1] if one else 0 for one in held]), flush=True)
sys.stdin.read()
"""
Door = tuple[str, int]


@dataclass(frozen=True)
class Place:
    """A container: its first process, and its address on each of its networks."""

    process: int
    addresses: dict[str, str]

    def took(self, port: int, from_port: int) -> bool:
        """Whether a connection to that port, from that port, stands here. Its table of connections tells."""
        tables = (Path(f"/proc/{self.process}/net/{name}").read_text() for name in ("tcp", "tcp6"))
        ends = (line.split()[1:3] for table in tables for line in table.splitlines()[1:])
        return any(
            int(here.rpartition(":")[2], 16) == port and int(there.rpartition(":")[2], 16) == from_port
            for here, there in ends
        )


@pytest.fixture
def places(deployment: Deployment) -> dict[str, Place]:
    label = f"label=com.docker.compose.project={PROJECT}"
    names = deployment.docker.run("ps", "-q", "--filter", label).split()
    found = {}
    for one in json.loads(deployment.docker.run("inspect", *names)):
        networks = one["NetworkSettings"]["Networks"]
        addresses = {name.removeprefix(f"{PROJECT}_"): it["IPAddress"] for name, it in networks.items()}
        service = one["Config"]["Labels"]["com.docker.compose.service"]
        found[service] = Place(one["State"]["Pid"], addresses)
    return found


@pytest.fixture
def host_doors() -> Iterator[list[Door]]:
    """Something that listens on all of the host's addresses, those of Docker's bridges among them."""
    said = subprocess.run(("hostname", "-I"), capture_output=True, text=True, check=True).stdout.split()
    with socket.create_server(("0.0.0.0", 0)) as server:
        yield [(one, server.getsockname()[1]) for one in said if ":" not in one]


def connections(place: Place, doors: list[Door]) -> Iterator[list[int]]:
    """The ports from which this container's network connects, 0 where it does not; held while they are looked at.

    The host's own Python in the container's network: nothing has to be installed there, and nothing hides it.
    """
    command = ("nsenter", "-t", str(place.process), "-n", sys.executable, "-c", PROBE, json.dumps(doors))
    probe = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert probe.stdin is not None
    assert probe.stdout is not None
    try:
        yield json.loads(probe.stdout.readline())
    finally:
        probe.stdin.close()
        probe.wait(30)
        probe.stdout.close()


@pytest.mark.parametrize("service", INNER)
def test_the_inner_zones_reach_neither_the_host_nor_the_world(
    places: dict[str, Place], host_doors: list[Door], service: str
) -> None:
    doors = [*host_doors, *WORLD]
    for ports in connections(places[service], doors):
        assert dict(zip(doors, ports, strict=True)) == dict.fromkeys(doors, 0)


def test_the_host_is_there_to_be_reached(places: dict[str, Place], host_doors: list[Door]) -> None:
    """Else the test above could not fail: the edge is on a network with a way out, and there the host answers."""
    here = Place(os.getpid(), {})
    for ports in connections(places["api"], host_doors):
        assert any(port and here.took(door[1], port) for door, port in zip(host_doors, ports, strict=True))


@pytest.mark.parametrize("service", sorted(DOORS))
def test_a_zone_reaches_only_its_neighbors(places: dict[str, Place], service: str) -> None:
    """Looked at where a connection should arrive: a machine's own network may accept any connection first."""
    zones = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())["services"]
    others = [
        (other, network, (address, DOORS[other]))
        for other in DOORS
        if other != service
        for network, address in places[other].addresses.items()
    ]
    for ports in connections(places[service], [door for _, _, door in others]):
        for (other, network, door), port in zip(others, ports, strict=True):
            arrived = bool(port) and places[other].took(door[1], port)
            assert arrived == (network in zones[service]["networks"]), (other, network)
