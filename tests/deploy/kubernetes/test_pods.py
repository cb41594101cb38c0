"""The chart's pods with real containers in them: they start, answer, and end, as the kubelet would have it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.kubernetes.chart import PLAIN, merged, pods, render
from tests.deploy.kubernetes.kubelet import Kubelet, files_of
from tests.deploy.machine import Docker
from tests.deploy.provide import TAG
from tests.support import CHECKOUT

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(2400)]
PROJECT = "portico-kubelet"
SERVERS = ("postgres", "temporal", "s3")
FUNCTION = '''
from portico.tool import tool


@tool(effects="none", risk="low")
def greet_harbor(name: str) -> str:
    """Greet somebody at the harbor."""
    return f"Ahoy, {name}!"
'''
RULE = "package portico.own.quiet\n"
INTENT = """
name: harbor
examples:
  en: [is the harbor open, harbor opening hours, when does the harbor open, can boats come in today]
  zh: [港口开放吗, 港口几点开放, 今天船可以进港吗, 港口营业时间]
action:
  reply: {en: The harbor is open., zh: 港口开放。}
"""
VALUES = merged(
    PLAIN,
    version=TAG,
    temporal={"address": "temporal:7233"},
    storage={"url": "http://s3:7070"},
    own={"functions": "functions", "policies": "policies"},
    temporalUi={
        "enabled": False
    },  # stands in for its image elsewhere, and writes where the real one does not
    networkPolicy={"enabled": False},
)
ORDER = ("portico-opa", "portico-triton", "portico-sandbox", f"portico-worker-all-{TAG}", "portico-api")


class Servers:
    """What the chart takes as given, by compose.yaml under a name of its own."""

    def __init__(self, docker: Docker, folder: Path) -> None:
        self._docker = docker
        make = (
            sys.executable,
            "-m",
            "entrypoints.cli.main",
            "deploy",
            "init",
            folder,
            "--site",
            "chat.example.com",
        )
        subprocess.run(make, cwd=CHECKOUT, check=True, capture_output=True)
        self.secrets = folder / "secrets"
        own = {path.name.removesuffix(".json"): {"file": str(path)} for path in self.secrets.iterdir()}
        self._own = folder / "own.yaml"
        self._own.write_text(json.dumps({"secrets": own}))
        self._env = folder / ".env"

    def compose(self, *arguments: str, check: bool = True) -> str:
        files = ("-f", str(CHECKOUT / "compose.yaml"), "-f", str(self._own), "--env-file", str(self._env))
        return self._docker.run("compose", "-p", PROJECT, *files, *arguments, check=check)


@pytest.fixture(scope="module")
def specs() -> dict[str, dict[str, Any]]:
    return {name: template["spec"] for name, template in pods(render(VALUES)).items()}


@pytest.fixture(scope="module")
def kubelet(
    docker: Docker,
    images: None,
    specs: dict[str, dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Kubelet]:
    """All pods of the chart, ready; leave them so."""
    folder = tmp_path_factory.mktemp("kubelet")
    servers = Servers(docker, folder / "deployment")
    settings = {"portico.toml": ""}
    node = Kubelet(
        docker,
        folder / "pods",
        f"{PROJECT}_core",
        secrets={"portico": files_of(servers.secrets)},
        config_maps={
            "portico": settings,
            "portico-prepare": settings,
            "functions": {"harbor.py": FUNCTION},
            "policies": {"quiet.rego": RULE},
            "intents": {"harbor.yaml": INTENT},
        },
    )
    try:
        servers.compose("up", "--detach", "--no-build", "--wait", *SERVERS)
        node.boot(f"portico-worker:{TAG}")
        node.finish("portico-prepare", specs["portico-prepare"])
        for name in ORDER:
            node.start(name, specs[name])
        node.finish("portico-promote", specs["portico-promote"])
        yield node
    finally:
        node.remove_all()
        servers.compose("down", "-v", "--remove-orphans", check=False)


def test_a_message_is_answered(kubelet: Kubelet) -> None:
    assert "6 × 7 = 42" in kubelet.call("portico-api", "portico", "send", "what is 6 * 7?")


def test_every_probe_says_yes(kubelet: Kubelet) -> None:
    kinds = ("startupProbe", "readinessProbe", "livenessProbe")
    asked = [(name, kind) for name, one in kubelet.started.items() for kind in kinds if kind in one]
    assert len(asked) == len(ORDER) * len(kinds)
    assert [pair for pair in asked if not kubelet.probe(*pair)] == []


def test_the_jobs_made_this_version_current(kubelet: Kubelet, specs: dict[str, dict[str, Any]]) -> None:
    worker = f"portico-worker-all-{TAG}"
    told = json.loads(kubelet.call(worker, "portico", "deploy", "versions", "--json"))
    assert told["current"] == TAG
    assert kubelet.finish("portico-prepare", specs["portico-prepare"]) is not None, "it may be repeated"


def test_own_functions_come_out_of_a_config_map(kubelet: Kubelet) -> None:
    assert "Ahoy, Ada!" in kubelet.call("portico-api", "portico", "tools", "run", "greet_harbor", "name=Ada")


def test_own_intents_are_learned_although_the_image_cannot_be_written(kubelet: Kubelet) -> None:
    """In a worker's first container, as in Triton's own."""
    rendered = pods(render(merged(VALUES, own={"intents": "intents"})))
    spec = rendered[f"portico-worker-all-{TAG}"]["spec"]
    models = kubelet.initialize("learning", spec)["models"]
    told = json.loads((models / "models" / "understand" / "intents.json").read_text())
    assert "The harbor is open." in json.dumps(told)


def test_code_runs_in_the_sandbox(kubelet: Kubelet) -> None:
    told = kubelet.call("portico-api", "python", "-c", RUN_CODE)
    assert told.splitlines()[-1] == "42"


RUN_CODE = """
from pathlib import Path
from urllib.request import Request, urlopen
import json, os
key = Path('/run/secrets/portico/sandbox_key').read_text().strip()
def ask(path, body):
    given = {'X-API-Key': key, 'Content-Type': 'application/json'}
    return urlopen(Request('http://portico-sandbox:8090' + path, json.dumps(body).encode(), given), timeout=90)
made = json.loads(ask('/sandboxes', {'templateID': 'code-interpreter-v1', 'timeout': 60}).read())
given = {'E2b-Sandbox-Id': made['sandboxID'], 'E2b-Sandbox-Port': '49999', 'Content-Type': 'application/json',
         'X-Access-Token': made.get('envdAccessToken') or '', 'X-API-Key': key}
body = json.dumps({'code': 'print(6 * 7)', 'context_id': None, 'language': None, 'env_vars': None}).encode()
lines = urlopen(Request('http://portico-sandbox:8090/execute', body, given), timeout=90).read().decode().splitlines()
print(''.join(json.loads(line)['text'] for line in lines if json.loads(line)['type'] == 'stdout').strip())
"""


@pytest.mark.parametrize("name", ORDER)
def test_no_root_can_be_written(kubelet: Kubelet, name: str) -> None:
    found = json.loads(kubelet.docker.run("inspect", kubelet.container(name)))[0]["HostConfig"]
    assert found["ReadonlyRootfs"] is True
    assert found["CapDrop"] == ["ALL"]
    assert "no-new-privileges" in found["SecurityOpt"]


@pytest.mark.parametrize("name", [f"portico-worker-all-{TAG}", "portico-api"])
def test_ends_within_its_grace(kubelet: Kubelet, specs: dict[str, dict[str, Any]], name: str) -> None:
    """Last in this file: what it ends is started again, as a new pod would be."""
    assert kubelet.stop(name, grace_s=specs[name]["terminationGracePeriodSeconds"]) in (0, 143)
    kubelet.docker.run("start", kubelet.container(name))
    kubelet.wait(name)
