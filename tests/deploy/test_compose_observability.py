"""The profile `observability`: Prometheus reaches every part that tells something, and nobody reaches Prometheus.

Grafana's own image cannot be made here; what it would show is asked of Prometheus.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deploy.deployment import Deployment
from tests.deploy.provide import image_names, provide_image
from tests.infra.observability.programs import prometheus_program
from tests.support import CHECKOUT, until

pytestmark = pytest.mark.deploy

PANELS = (
    "Turns a second",
    "Decisions of policy, a second",
    "Temporal: requests a second",
    "Sandboxes",
    "Tools that are there",
)


class Prometheus:
    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment

    def get(self, path: str, **query: str) -> Any:
        url = f"http://127.0.0.1:9090/api/v1/{path}?{urllib.parse.urlencode(query)}"
        told = self.deployment.compose("exec", "-T", "prometheus", "wget", "-q", "-O", "-", url)
        return json.loads(told)["data"]

    def health(self) -> dict[str, str]:
        return {one["labels"]["job"]: one["health"] for one in self.get("targets")["activeTargets"]}


@pytest.fixture(scope="module")
def prometheus(deployment: Deployment) -> Iterator[Prometheus]:
    program = prometheus_program("prometheus")
    assert program is not None, "the package prometheus is missing"
    docker, name = deployment.docker, image_names()["prometheus"]
    provide_image(docker, "program.Dockerfile", "portico-test-prometheus", {"prometheus": program})
    provide_image(docker, "prometheus.Dockerfile", name, {})
    deployment.compose("up", "-d", "--no-build", "--no-deps", "--wait", "prometheus")
    yield Prometheus(deployment)
    deployment.compose("rm", "-f", "-s", "-v", "prometheus")


def test_every_part_that_tells_something_is_asked(prometheus: Prometheus) -> None:
    jobs = {"portico-api", "portico-worker", "sandbox", "temporal", "triton", "opa"}
    until(lambda: prometheus.health() == dict.fromkeys(jobs, "up"), timeout_s=60)


def test_the_panels_have_something_to_show(deployment: Deployment, prometheus: Prometheus) -> None:
    panels = {
        panel["title"]: panel["targets"][0]["expr"]
        for path in (CHECKOUT / "infra/observability/grafana/dashboards").glob("*.json")
        for panel in json.loads(path.read_text())["panels"]
    }
    for number in range(3):
        deployment.answer("/whoami", message=f"observed-{number}")

    def shown() -> bool:
        deployment.answer("/whoami", message=f"observed-{len(prometheus.get('targets'))}")
        return all(prometheus.get("query", query=panels[title])["result"] for title in PANELS)

    until(shown, timeout_s=90)


def test_no_alert_fires_on_a_deployment_that_works(prometheus: Prometheus) -> None:
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert rules
    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
    # Parts that other tests killed a moment ago may have been noticed.
    assert [
        rule["name"] for rule in rules if rule["state"] == "firing" and rule["name"] == "PorticoWorkerDown"
    ] == []


@pytest.mark.parametrize("service", ["api", "worker", "sandbox"])
def test_nobody_reaches_prometheus(deployment: Deployment, prometheus: Prometheus, service: str) -> None:
    look = (
        "import socket, sys\n"
        "try: socket.create_connection(('prometheus', 9090), 3)\n"
        "except OSError as error: sys.exit(repr(error))\n"
        "print('reached')"
    )
    told = deployment.compose("exec", "-T", service, "python3", "-c", look, check=False)
    assert "reached" not in told
