"""A deployment by compose.yaml under a name of its own, and the people and platforms that speak with it.

The file is the shipped one. A second file beside it, written here, says where this deployment's secrets lie and adds
the scripted Telegram server to the network on which platforms are reached.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from operations.deploy.env_file import read_env
from tests.deploy.machine import Docker
from tests.deploy.provide import TAG
from tests.deploy.scripted_telegram import PORT as TELEGRAM_PORT
from tests.fakes.telegram import TOKEN
from tests.portico.servers import free_port
from tests.support import CHECKOUT

PROJECT = "portico-test"
SITE = "portico.test"
WEBHOOK_SECRET = "secret-of-the-scripted-webhook"
ANSWER_WITHIN_S = 300
SETTINGS = f"""
[limits]
messages_per_minute = 0
failed_verifications_per_minute = 0
[channels.telegram.default]
token = "{TOKEN}"
secret = "{WEBHOOK_SECRET}"
api_base = "http://telegram:{TELEGRAM_PORT}"
bot_username = "portico_test_bot"
admit = "anyone"
receive = "webhook"
rate_per_s = 0
rate_per_chat_per_s = 0
"""


@dataclass
class Deployment:
    docker: Docker
    folder: Path
    port: int
    ready_s: float = 0.0
    load: float = 0.0
    """How many processes wanted a CPU while it came up, for each that there is."""
    files: list[Path] = field(default_factory=list)
    _root: str = ""
    _container: dict[str, str] = field(default_factory=dict)

    def compose(self, *arguments: str, check: bool = True, timeout: float = 300) -> str:
        chosen = (CHECKOUT / "compose.yaml", self.folder / "own.yaml", *self.files)
        files = tuple(word for path in chosen for word in ("-f", str(path)))
        project = ("compose", "-p", PROJECT, *files, "--env-file", str(self.folder / ".env"))
        return self.docker.run(*project, *arguments, check=check, timeout=timeout)

    def up(self, *more: str) -> None:
        self._container.clear()
        began = time.monotonic()
        try:
            self.compose("up", "-d", "--no-build", "--wait", *more)
        except AssertionError as error:
            raise AssertionError(f"{str(error)[-300:]}\n{self.state()}") from None
        self.ready_s = time.monotonic() - began
        self.load = os.getloadavg()[0] / (os.cpu_count() or 1)

    def down(self, *more: str) -> None:
        self.compose("down", "--remove-orphans", *more)

    # --- people --------------------------------------------------------------------------------------

    @property
    def key(self) -> str:
        return (self.folder / "secrets" / "owner_key").read_text().strip()

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cadata=self.root())

    def root(self) -> str:
        """Caddy is known by the root that it made for itself."""
        if not self._root:
            path = "/data/caddy/pki/authorities/local/root.crt"
            self._root = self.compose("exec", "-T", "caddy", "cat", path)
        return self._root

    def forget_root(self) -> None:
        """After its volume was deleted."""
        self._root = ""

    def client(self, *, newest: ssl.TLSVersion | None = None) -> httpx2.Client:
        """Through Caddy. Requests name the site by `extensions=SNI`."""
        context = self.context()
        if newest is not None:
            context.maximum_version = newest
        return httpx2.Client(
            base_url=f"https://127.0.0.1:{self.port}",
            verify=context,
            trust_env=False,
            timeout=90,
            headers={"Host": SITE, "Authorization": f"Bearer {self.key}"},
        )

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        with self.client() as client:
            answer = client.request(method, path, json=body, extensions=SNI)
        assert answer.status_code < 400, answer.text
        return answer.json()

    def ask(self, text: str, *, message: str) -> dict[str, Any] | None:
        """A reply; nothing where a part is unavailable at this moment."""
        body = {"id": message, "text": text}
        try:
            with self.client() as client:
                answer = client.post("/v1/messages?wait_s=30", json=body, extensions=SNI)
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
        pytest.fail(f"no answer to {text!r}\n{self.state()}")

    def lines(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", "/v1/conversations/main/messages?limit=200")
        return found

    def state(self) -> str:
        """What a failed test shows: every container, and what those that are not well said last."""
        rows = self.compose("ps", "-a", "--format", "{{.Service}}\t{{.Status}}").splitlines()
        odd = [row.split("\t")[0] for row in rows if not row.endswith("(healthy)")]
        said = self.compose("logs", "--no-color", "--tail", "15", "api", "worker", *odd)
        return "\n".join((*rows, said[-8000:]))

    # --- Telegram ------------------------------------------------------------------------------------

    def webhook(self, update: dict[str, Any], *, secret: str = WEBHOOK_SECRET) -> int:
        """Telegram delivers an update. The status; 0 where nobody answered."""
        headers = {"X-Telegram-Bot-Api-Secret-Token": secret}
        try:
            with self.client() as client:
                path = "/webhooks/telegram"
                return client.post(path, json=update, headers=headers, extensions=SNI).status_code
        except httpx2.HTTPError:
            return 0

    def seen(self) -> dict[int, list[str]]:
        """What the scripted server was sent, by chat."""
        address = self.address("telegram", "outside")
        answer = httpx2.get(f"http://{address}:{TELEGRAM_PORT}/seen", trust_env=False)
        found: dict[int, list[str]] = {}
        for one in answer.json():
            found.setdefault(int(one["chat"]), []).append(one["text"])
        return found

    def told(self, chat: int, *, within_s: float = ANSWER_WITHIN_S) -> list[str]:
        """The same for one chat, once there is something."""
        ends = time.monotonic() + within_s
        while not (texts := self.seen().get(chat)):
            assert time.monotonic() < ends, f"nothing for chat {chat}\n{self.state()}"
            time.sleep(0.2)
        return texts

    # --- containers ----------------------------------------------------------------------------------

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "-q", service).split()

    def address(self, service: str, network: str) -> str:
        if service not in self._container:
            form = f'{{{{(index .NetworkSettings.Networks "{PROJECT}_{network}").IPAddress}}}}'
            self._container[service] = self.docker.run("inspect", "-f", form, self.containers(service)[0])
        return self._container[service]

    def kill(self, container: str) -> None:
        """kill -9 of its first process, from outside: Docker itself is not asked to."""
        os.kill(int(self.docker.run("inspect", "-f", "{{.State.Pid}}", container)), signal.SIGKILL)


SNI = {"sni_hostname": SITE}


def make(docker: Docker, folder: Path, *, settings: str = SETTINGS) -> Deployment:
    """Secrets and settings of a deployment; nothing is started."""
    port = free_port()
    command = (CHECKOUT / ".venv/bin/python", "-m", "entrypoints.cli.main", "deploy", "init", folder)
    subprocess.run(
        (*command, "--site", SITE, "--https-port", str(port)),
        check=True,
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
    )
    with (folder / ".env").open("a") as env:
        env.write(f"PORTICO_TLS=internal\nPORTICO_BIND=127.0.0.1\nPORTICO_VERSION={TAG}\n")
        env.write(f"PORTICO_CONFIG_FOLDER={folder / 'config'}\nPORTICO_LOCAL_ONLY=false\n")
    with (folder / "config" / "portico.toml").open("a") as toml:
        toml.write(settings)
    (folder / "own.yaml").write_text(json.dumps(_own(folder)))
    return Deployment(docker, folder, port)


def found(docker: Docker, folder: Path) -> Deployment:
    """One that was made before."""
    return Deployment(docker, folder, int(read_env(folder / ".env")["PORTICO_HTTPS_PORT"]))


def _own(folder: Path) -> dict[str, Any]:
    names = [path.name for path in (folder / "secrets").iterdir()]
    secrets = {name.removesuffix(".json"): {"file": str(folder / "secrets" / name)} for name in names}
    look = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{TELEGRAM_PORT}/seen')"
    telegram = {
        "image": f"portico-worker:{TAG}",
        "command": ["python", "-m", "tests.deploy.scripted_telegram"],
        "healthcheck": {"test": ["CMD", "python", "-c", look]},
        "volumes": [f"{CHECKOUT / 'tests'}:/opt/portico/tests:ro"],
        "networks": ["outside"],
    }
    return {"services": {"telegram": telegram}, "secrets": secrets}


def remove(docker: Docker) -> None:
    """Everything that a deployment of this name has made, whichever run made it."""
    label = f"label=com.docker.compose.project={PROJECT}"
    if containers := docker.run("ps", "-aq", "--filter", label).split():
        docker.run("rm", "-f", "-v", *containers)
    for kind in ("volume", "network"):
        if found := docker.run(kind, "ls", "-q", "--filter", label).split():
            docker.run(kind, "rm", *found)
