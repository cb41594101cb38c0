"""The compose deployment, for real: a daemon, images, TLS, networks, killed containers, down and up again."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.deploy.machine import Docker, running_docker
from tests.deploy.provide import provide_images
from tests.portico.servers import free_port
from tests.support import CHECKOUT

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(2400)]
SITE = "portico.test"
ANSWER_WITHIN_S = 60


@dataclass
class Deployment:
    docker: Docker
    folder: Path
    port: int

    def compose(self, *arguments: str, check: bool = True) -> str:
        project = (
            "compose",
            "-p",
            "portico-test",
            "-f",
            str(CHECKOUT / "compose.yaml"),
            "-f",
            str(self.folder / "own.yaml"),
        )
        return self.docker.run(*project, "--env-file", str(self.folder / ".env"), *arguments, check=check)

    @property
    def key(self) -> str:
        return (self.folder / "secrets" / "owner_key").read_text().strip()

    def client(self, *, newest: ssl.TLSVersion | None = None) -> httpx2.Client:
        """Through Caddy, which is known by the root that it made for itself."""
        context = ssl.create_default_context(cadata=self.root())
        if newest is not None:
            context.maximum_version = newest
        return httpx2.Client(
            base_url=f"https://127.0.0.1:{self.port}",
            verify=context,
            trust_env=False,
            timeout=90,
            headers={"Host": SITE, "Authorization": f"Bearer {self.key}"},
        )

    def root(self) -> str:
        return self.compose("exec", "-T", "caddy", "cat", "/data/caddy/pki/authorities/local/root.crt")

    def ask(self, text: str, *, message: str) -> dict[str, Any] | None:
        """A reply; nothing where a part is away at this moment."""
        body = {"id": message, "text": text}
        try:
            with self.client() as client:
                answer = client.post("/v1/messages?wait_s=30", json=body, extensions={"sni_hostname": SITE})
        except httpx2.HTTPError:
            return None
        found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        return found.get("reply")

    def answer(self, text: str, *, message: str) -> str:
        ends = time.monotonic() + ANSWER_WITHIN_S
        while time.monotonic() < ends:
            reply = self.ask(text, message=message)
            if reply:
                return "\n".join(part.get("text", "") for part in reply["parts"])
            time.sleep(0.5)
        pytest.fail(
            f"no answer to {text!r}: {self.compose('ps', '-a')}\n{self.compose('logs', '--tail', '20')[-6000:]}"
        )

    def lines(self) -> list[dict[str, Any]]:
        with self.client() as client:
            path = "/v1/conversations/main/messages?limit=200"
            found: list[dict[str, Any]] = client.get(path, extensions={"sni_hostname": SITE}).json()
        return found


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    port = free_port()
    make = (CHECKOUT / ".venv/bin/python", "-m", "portico.cli.main", "deploy", "init", folder)
    subprocess.run((*make, "--site", SITE, "--https-port", str(port)), check=True, cwd=CHECKOUT)
    with (folder / ".env").open("a") as env:
        env.write(
            f"PORTICO_TLS=internal\nPORTICO_BIND=127.0.0.1\nPORTICO_CONFIG_FOLDER={folder / 'config'}\n"
        )
    names = [path.name for path in (folder / "secrets").iterdir()]
    own = {
        "secrets": {name.removesuffix(".json"): {"file": str(folder / "secrets" / name)} for name in names}
    }
    (folder / "own.yaml").write_text(json.dumps(own))
    with running_docker() as docker:
        provide_images(docker)
        made = Deployment(docker, folder, port)
        try:
            began = time.monotonic()
            made.compose("up", "-d", "--no-build", "--wait")
            (tmp_path_factory.getbasetemp() / "ready_s").write_text(f"{time.monotonic() - began:.1f}")
            yield made
        finally:
            made.compose("down", "-v", check=False)


def test_a_message_is_answered_through_tls(deployment: Deployment) -> None:
    assert deployment.answer("what is 6 * 7?", message="first") == "6 × 7 = 42"


def test_older_tls_is_refused(deployment: Deployment) -> None:
    with deployment.client(newest=ssl.TLSVersion.TLSv1_2) as client, pytest.raises(httpx2.ConnectError):
        client.get("/healthz", extensions={"sni_hostname": SITE})


def test_only_caddy_is_published(deployment: Deployment) -> None:
    lines = deployment.compose("ps", "--format", "{{.Service}} {{.Ports}}").splitlines()
    assert [line.split()[0] for line in lines if "->" in line] == ["caddy"]


@pytest.mark.parametrize("service", ["s3", "temporal", "opa"])
def test_the_core_reaches_neither_the_host_nor_the_world(deployment: Deployment, service: str) -> None:
    said = subprocess.run(("hostname", "-I"), capture_output=True, text=True, check=True).stdout.split()
    here = [address for address in said if ":" not in address]
    command = ("python3", "-m", "http.server", "18999", "--bind", "0.0.0.0")
    listener = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert here
        for address, port in (*((one, "18999") for one in here), ("1.1.1.1", "443")):
            probe = f"timeout 4 nc -z {address} {port} && echo open || echo closed"
            assert deployment.compose("exec", "-T", service, "sh", "-c", probe) == "closed", address
    finally:
        listener.kill()
        listener.wait()


@pytest.mark.parametrize("service", ["worker", "opa", "s3", "triton", "temporal", "postgres", "api", "caddy"])
def test_a_killed_container_loses_nothing(deployment: Deployment, service: str) -> None:
    container = deployment.compose("ps", "-q", service).splitlines()[0]
    process = int(deployment.docker.run("inspect", "-f", "{{.State.Pid}}", container))
    before = len(deployment.lines())
    os.kill(process, signal.SIGKILL)
    assert deployment.answer("what is 5 * 5?", message=f"killed-{service}") == "5 × 5 = 25"
    said = [line for line in deployment.lines() if line["message_id"] == f"killed-{service}"]
    assert len(said) == 1, "a repeated message is one turn"
    assert len(deployment.lines()) == before + 2


def test_down_and_up_keep_every_message(deployment: Deployment) -> None:
    before = deployment.lines()
    deployment.compose("down")
    deployment.compose("up", "-d", "--no-build", "--wait")
    assert deployment.lines() == before


def test_nothing_readable_lies_in_the_volumes(deployment: Deployment) -> None:
    word = "heronstandsinthereeds"
    deployment.answer(f"{word} hello", message="marked")
    root = Path(deployment.docker.run("info", "--format", "{{.DockerRootDir}}")) / "volumes"
    time.sleep(2)
    found = subprocess.run(("grep", "-rl", word, root), capture_output=True, text=True, check=False).stdout
    assert found == ""
