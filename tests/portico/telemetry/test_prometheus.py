"""A real Prometheus with our settings and rules, asking a running stack: what panels and alerts ask is answered."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.guarantees.platforms import new_chat
from tests.infra.observability.programs import prometheus_program
from tests.portico.telemetry.conftest import TOKEN, Watched, free_port
from tests.support import CHECKOUT, until

OBSERVABILITY = CHECKOUT / "infra" / "observability"
NEEDS_MORE = {
    "Possible repeats in an hour",
    "Failures of a route in a row",
    "Sandboxes",
    "Tools by end, a second",
    "Tokens a second",
    "Tokens today",
    "Steps that are tried again, a second",
}
"""Panels that are empty where nothing of the kind has happened, or where no such part runs."""


class Prometheus:
    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str, **query: str) -> Any:
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def health(self) -> dict[str, str]:
        return {one["labels"]["job"]: one["health"] for one in self.get("targets")["activeTargets"]}


@pytest.fixture(scope="module")
def prometheus(watched: Watched, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    program = prometheus_program("prometheus")
    if program is None:
        pytest.skip("Prometheus is not there, and neither is apt to fetch it")
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings_for(watched, folder)))
    address = f"127.0.0.1:{free_port()}"
    command = (
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    )
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            running = Prometheus(address)
            until(lambda: answers(running), timeout_s=30)
            yield running
        finally:
            process.terminate()


def settings_for(watched: Watched, folder: Path) -> dict[str, Any]:
    """Ours, but for the addresses: of the parts that run here, every second."""
    settings: dict[str, Any] = yaml.safe_load((OBSERVABILITY / "prometheus" / "prometheus.yml").read_text())
    settings["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    settings["rule_files"] = [str(OBSERVABILITY / "prometheus" / "alerts.yml")]
    (folder / "token").write_text(TOKEN)
    addresses = {
        "portico-api": watched.stack.address("api"),
        "portico-worker": f"127.0.0.1:{watched.metrics_port}",
        "temporal": watched.stack.address("temporal-metrics"),
        "triton": watched.stack.address("triton-metrics"),
    }
    asked = [job for job in settings["scrape_configs"] if job["job_name"] in addresses]
    for job in asked:
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": [addresses[job["job_name"]]]}]
        if "authorization" in job:
            job["authorization"]["credentials_file"] = str(folder / "token")
    settings["scrape_configs"] = asked
    return settings


def answers(running: Prometheus) -> bool:
    try:
        return set(running.health().values()) == {"up"} and len(running.health()) == 4
    except OSError:
        return False


def test_every_panel_shows_something(watched: Watched, prometheus: Prometheus) -> None:
    panels = [
        panel
        for path in sorted((OBSERVABILITY / "grafana" / "dashboards").glob("*.json"))
        for panel in json.loads(path.read_text())["panels"]
    ]
    empty: set[str] = set()

    def all_filled() -> bool:
        chat = new_chat()
        watched.say(f"Write a poem about chat {chat}", chat=chat)
        watched.bot.wait_for_attempts(chat)
        empty.clear()
        for panel in panels:
            found = [prometheus.get("query", query=target["expr"])["result"] for target in panel["targets"]]
            if not any(found):
                empty.add(panel["title"])
        return empty <= NEEDS_MORE

    ends = time.monotonic() + 30
    while not all_filled():
        assert time.monotonic() < ends, empty - NEEDS_MORE
        time.sleep(1)


def test_no_alert_fires_on_a_gateway_that_works(prometheus: Prometheus) -> None:
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) == len(
        yaml.safe_load((OBSERVABILITY / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
    )
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] == "err"} == {}
    firing = {rule["name"] for rule in rules if rule["state"] == "firing"}
    assert firing <= {"PorticoPossibleRepeats"}, "other tests broke deliveries on purpose"
