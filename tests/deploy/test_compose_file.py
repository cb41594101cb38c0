"""compose.yaml as it is read: what every service must keep to, wherever it runs. No daemon is needed.

Anchors and merges are resolved by the YAML reader; where a Docker with compose is at hand, it reads the file, too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from operations.deploy import secrets
from tests.support import CHECKOUT

FILE = CHECKOUT / "compose.yaml"
RESOLVED: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = RESOLVED["services"]
OUTWARD = {"edge", "outside"}
WAYS_OUT = {
    # who is on a network from which the world can be reached, and why
    "api": "platforms' replies, webhooks' doors",
    "caddy": "the published port",
    "gate": "an edge on another host calls in, behind its own profile",
    "worker": "platforms and cloud routes",
}
each_service = pytest.mark.parametrize("name", sorted(SERVICES))


@each_service
def test_nothing_can_be_gained(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    # The program of Caddy's image carries this one; a file whose capability is out of reach is not started at all.
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if "caddy" in service["image"] else [])
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["read_only"] is True
    assert not {"privileged", "pid", "ipc", "userns_mode", "devices"} & set(service)
    assert service.get("network_mode", "service:").startswith("service:")


@each_service
def test_everything_is_bounded(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert 0 < service["pids_limit"] <= 2048
    assert service["logging"]["options"]["max-size"]


@each_service
def test_images_are_pinned_by_a_variable_with_a_version(name: str) -> None:
    version = re.search(r":\$\{\w+:-([^}]+)\}$", SERVICES[name]["image"])
    assert version, SERVICES[name]["image"]
    assert version[1] != "latest"


@each_service
def test_what_is_mounted_of_the_host_is_there_and_cannot_be_written(name: str) -> None:
    mounts = [str(volume) for volume in SERVICES[name].get("volumes", ())]
    for mount in mounts:
        source, *_ = mount.split(":")
        if source.startswith("./"):
            assert mount.endswith(":ro"), mount
            assert (CHECKOUT / source).exists(), mount
        assert "docker.sock" not in mount


@each_service
def test_secrets_come_as_files_alone(name: str) -> None:
    environment = SERVICES[name].get("environment", {})
    assert isinstance(environment, dict)
    for variable, value in environment.items():
        if re.search(r"(PASSWORD|SECRET|TOKEN|_KEY)(_FILE|__FILE)?$", variable):
            assert "/run/secrets/" in str(value), variable


def test_only_caddy_is_published() -> None:
    """Unless a profile is asked for: the gate for an edge elsewhere, and Grafana on loopback."""
    published = {name: service["ports"] for name, service in SERVICES.items() if service.get("ports")}
    assert [name for name in published if not SERVICES[name].get("profiles")] == ["caddy"]
    assert set(published) == {"caddy", "gate", "prometheus"}
    assert all(port.startswith("127.0.0.1:") for port in published["prometheus"])


def test_inner_networks_have_no_way_out_and_no_way_to_the_host() -> None:
    networks = RESOLVED["networks"]
    inner = set(networks) - OUTWARD - {"observe"}
    assert inner == {"core", "models", "sandbox"}
    assert networks["observe"]["driver_opts"] == {"com.docker.network.bridge.enable_ip_masquerade": "false"}
    for name in inner:
        assert networks[name]["internal"] is True
        assert networks[name]["driver_opts"] == {"com.docker.network.bridge.inhibit_ipv4": "true"}


def test_only_these_services_have_a_way_out() -> None:
    out = {name for name, service in SERVICES.items() if OUTWARD & set(service.get("networks", ()))}
    assert out == set(WAYS_OUT)


def test_the_database_and_the_sandbox_have_no_neighbor_in_common_but_the_worker() -> None:
    zones = {name: set(service.get("networks", ())) for name, service in SERVICES.items()}
    beside = {name for name, networks in zones.items() if "sandbox" in networks}
    assert beside - {"prometheus"} == {"sandbox", "worker"}
    assert zones["sandbox"] == {"sandbox"}
    assert zones["triton"] == {"models"}
    assert zones["caddy"] == {"edge"}


def test_every_secret_is_made_by_init_and_used() -> None:
    used = {
        one if isinstance(one, str) else one["source"]
        for service in SERVICES.values()
        for one in service.get("secrets", ())
    }
    building = {one for service in SERVICES.values() for one in service.get("build", {}).get("secrets", ())}
    named = set(RESOLVED["secrets"])
    assert used | building == named
    made = {kept.name for kept in secrets.KEPT} | {
        secrets.DATABASE_URL,
        secrets.KEYRING.removesuffix(".json"),
    }
    assert named - building <= made


def test_what_others_wait_for_tells_when_it_is_well() -> None:
    dockerfiles = {"api", "worker", "triton", "sandbox"}
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[needed] or needed in dockerfiles, (name, needed)
            else:
                assert SERVICES[needed]["restart"] == "no", (name, needed)


def test_the_sandbox_keeps_the_profile_that_is_shipped() -> None:
    options = SERVICES["sandbox"]["security_opt"]
    profile = next(option.partition(":")[2] for option in options if option.startswith("seccomp:"))
    assert json.loads((CHECKOUT / profile).read_text())["defaultAction"] == "SCMP_ACT_ERRNO"


def test_caddy_speaks_tls_1_3_alone() -> None:
    text = (CHECKOUT / "infra/docker/caddy/Caddyfile").read_text()
    assert re.findall(r"^\s*protocols (.+)$", text, re.MULTILINE) == ["tls1.3 tls1.3"]
    assert "admin off" in text


def test_docker_compose_reads_it(tmp_path: Path) -> None:
    """With what `portico deploy init` makes, and nothing else; without it in one line that says what to do."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run((docker, "compose", "version"), capture_output=True).returncode:
        pytest.skip("no Docker with compose on this machine")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PORTICO_")}
    command = (docker, "compose", "-f", str(FILE), "--project-directory", str(tmp_path), "config", "-q")
    missing = subprocess.run(command, env=kept, capture_output=True, text=True, check=False)
    assert missing.returncode != 0
    assert "run portico deploy init" in missing.stderr
    (tmp_path / ".env").write_text("PORTICO_SITE=chat.example.com\n")
    done = subprocess.run(command, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
