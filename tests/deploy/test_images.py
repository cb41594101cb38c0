"""The images as they are built: who they run as, what they hold and say of it, and whether the tools work in them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.machine import Docker
from tests.deploy.provide import TAG, build_own
from tests.support import CHECKOUT

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(2400)]

LARGEST = 400_000_000
PARTS = ("api", "worker", "worker-tools", "triton", "sandbox")
CLOSED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
MINE = "uid=10001,gid=10001,mode=0700"
BROWSER = ("--security-opt", f"seccomp={CHECKOUT}/infra/docker/seccomp-browser.json")
SANDBOX = "portico-images-sandbox"
NETWORK = "portico-images"


@pytest.fixture(scope="module")
def built(docker: Docker, images: None) -> Docker:
    build_own(docker, "portico.Dockerfile", f"portico-worker-tools:{TAG}", "--target", "worker-tools")
    return docker


@pytest.fixture(scope="module")
def sandbox(built: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The key of a sandbox service that is reached as `SANDBOX` on `NETWORK`."""
    key = tmp_path_factory.mktemp("sandbox") / "key"
    key.write_text("e2b_" + secrets.token_hex(20))
    key.chmod(0o644)
    built.run("rm", "-f", SANDBOX, check=False)
    built.run("network", "rm", NETWORK, check=False)
    built.run("network", "create", "--internal", NETWORK)
    profile = f"seccomp={CHECKOUT}/infra/docker/seccomp.json"
    places = (f"/tmp:exec,{MINE},size=2g", f"/var/lib/sandbox:exec,{MINE},size=2g")
    started = ("run", "-d", "--name", SANDBOX, "--network", NETWORK, *CLOSED, "--security-opt", profile)
    tmpfs = [word for place in places for word in ("--tmpfs", place)]
    mounted = ("--shm-size", "1g", "-v", f"{key}:/run/secrets/sandbox_key:ro")
    built.run(*started, *tmpfs, *mounted, f"portico-sandbox:{TAG}")
    yield key.read_text()
    built.run("rm", "-f", SANDBOX)
    built.run("network", "rm", NETWORK)


def run(docker: Docker, part: str, program: str, *options: str) -> Any:
    """What a program of the tests says in a container that may do as little as in compose."""
    tmpfs = ("--tmpfs", f"/tmp:{MINE}", "--tmpfs", f"/var/lib/portico:{MINE}", "--shm-size", "1g")
    tests = ("-v", f"{CHECKOUT / 'tests'}:/opt/portico/tests:ro")
    image = f"portico-{part}:{TAG}"
    said = docker.run(
        *(
            "run",
            "--rm",
            *CLOSED,
            *tmpfs,
            *tests,
            *options,
            image,
            "python3",
            f"/opt/portico/tests/deploy/{program}",
        )
    )
    return json.loads(said.splitlines()[-1])


@pytest.mark.parametrize("part", PARTS)
def test_an_image_holds_what_it_says_and_gives_nobody_rights(built: Docker, part: str) -> None:
    told = run(built, part, "tried_image.py")
    assert told["uid"] == 10001
    assert told["capabilities"] == "0" * 16
    assert told["setuid"] == []
    assert told["package_managers"] == []
    assert told["writable"] == []
    assert told["installed"] > 10
    assert told["unlisted"] == []
    assert told["without_hash_or_license"] == []
    assert "pkg:deb" in told["kinds"]
    assert ("pkg:golang" in told["kinds"]) == (part == "sandbox")


@pytest.mark.parametrize("part", PARTS)
def test_an_image_is_described_and_can_be_asked_how_it_is(built: Docker, part: str) -> None:
    found = json.loads(built.run("image", "inspect", f"portico-{part}:{TAG}"))[0]
    labels = found["Config"]["Labels"]
    for name in ("title", "description", "licenses", "version", "revision", "source"):
        assert f"org.opencontainers.image.{name}" in labels, name
    assert found["Config"]["User"] == "10001:10001"
    assert found["Config"]["Healthcheck"]["Test"][0] == "CMD"
    if part != "sandbox":  # gVisor does not start below another process 1
        assert found["Config"]["Entrypoint"] == ["/usr/bin/tini", "-s", "--"]


@pytest.mark.parametrize("part", ["api", "worker"])
def test_edge_and_worker_stay_small(built: Docker, part: str) -> None:
    size = int(built.run("image", "inspect", "--format", "{{.Size}}", f"portico-{part}:{TAG}"))
    assert size <= LARGEST, f"{size / 1e6:.0f} MB"


def test_the_tools_work_in_their_image(built: Docker, sandbox: str) -> None:
    where = ("--network", NETWORK, "-e", f"SANDBOX_URL=http://{SANDBOX}:8090", "-e", f"SANDBOX_KEY={sandbox}")
    told = run(built, "worker-tools", "tried_tools.py", *BROWSER, *where)
    assert "| 1 | 2 |" in told["document"]
    assert told["chart"] == b"\x89PNG".hex()
    assert "# Welcome" in told["page"]
    assert "by script" in told["page"]
    assert told["screenshot"] > 1000
    assert told["script"] == "42\n"
    assert told["unavailable"] == {}


def test_without_namespaces_the_browser_stays_closed(built: Docker) -> None:
    """Docker's own list of system calls forbids them: there is no browser without a sandbox of its own."""
    told = run(built, "worker-tools", "tried_tools.py", "-e", "ONLY=browser")
    assert told["refused"] == "Chromium does not start here; its own sandbox needs user namespaces"


def test_what_compose_adds_is_understood(docker: Docker) -> None:
    def services(*files: str) -> dict[str, Any]:
        named = [word for file in ("compose.yaml", *files) for word in ("-f", str(CHECKOUT / file))]
        site = Path("/dev/null")
        asked = ("compose", "--env-file", str(site), *named, "config", "--format", "json", "--no-interpolate")
        found: dict[str, Any] = json.loads(docker.run(*asked))["services"]
        return found

    plain, gpu = services(), services("infra/docker/compose.gpu.yaml")
    assert "deploy" not in plain["triton"] or "reservations" not in plain["triton"]["deploy"].get(
        "resources", {}
    )
    device = gpu["triton"]["deploy"]["resources"]["reservations"]["devices"][0]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 1, ["gpu"])
    assert gpu["triton"]["build"]["target"] == "triton-official"
    assert gpu["triton"]["read_only"]
    worker = services("infra/docker/compose.tools.yaml")["worker"]
    assert worker["build"]["target"] == "worker-tools"
    assert any(option.endswith("seccomp-browser.json") for option in worker["security_opt"])
    assert "no-new-privileges:true" in worker["security_opt"]
