"""What Prometheus reads of the edge, the worker and other parts; and that alerts and dashboards name only that."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.error
import urllib.request
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from sandbox import app as sandbox_app
from tests.fakes.server import drop
from tests.fakes.telegram import refuse
from tests.guarantees.platforms import new_chat
from tests.portico.telemetry.conftest import TOKEN, Watched
from tests.support import CHECKOUT

OBSERVABILITY = CHECKOUT / "infra" / "observability"
WORDS = {
    *("and", "or", "unless", "by", "on", "ignoring", "sum", "max", "min"),
    *("rate", "increase", "histogram_quantile", "absent", "up"),
}
"""PromQL's own, and what Prometheus itself says."""
LABELS = {
    *(
        "channel",
        "end",
        "step",
        "question",
        "effect",
        "outcome",
        "code",
        "tool",
        "status",
        "route",
        "direction",
    ),
    *("queue", "kind", "state", "answered", "path", "le"),
    # the SDK's own
    *(
        "namespace",
        "task_queue",
        "workflow_type",
        "activity_type",
        "eager",
        "failure_reason",
        "worker_type",
        "poller_type",
        "operation",
    ),
}
BLOCKED = refuse(403, "Forbidden: bot was blocked by the user")


def read(url: str, key: str = "") -> str:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, headers=headers), timeout=20) as answer:
        content: str = answer.read().decode()
        return content


def names(exposition: str) -> set[str]:
    """Of series, as queries name them."""
    return set(re.findall(r"^([a-zA-Z_:][\w:]*)[{ ]", exposition, re.MULTILINE))


@pytest.fixture(scope="module")
def worker(watched: Watched) -> str:
    """After a turn with a model, one with a tool, one whose delivery broke off, and one that failed for good."""
    watched.model.call("calculator", {"expression": "6*7"})
    watched.model.say("It is done")
    asked, broken, blocked = new_chat(), new_chat(), new_chat()
    watched.bot.script_chat(broken, drop(taken=True))
    watched.bot.script_chat(blocked, BLOCKED)
    for chat in (asked, broken, blocked):
        watched.say("Write a poem about six times seven" if chat == asked else "/whoami", chat=chat)
    for chat in (asked, broken):
        watched.bot.wait_for_attempts(chat)
    watched.traces.wait_for("record_dead_letter")
    watched.traces.wait_for("deliver", lambda span: span.facts.get("portico.delivery.marked") == 1)
    watched.traces.wait_for("execute")
    return read(f"http://127.0.0.1:{watched.metrics_port}/metrics")


def samples(exposition: str, name: str) -> list[tuple[dict[str, str], float]]:
    return [
        (sample.labels, sample.value)
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name == name
    ]


def test_the_worker_tells_of_steps_decisions_tokens_tools_and_deliveries(worker: str) -> None:
    steps = {labels["step"] for labels, _ in samples(worker, "portico_step_seconds_count")}
    assert {"normalize", "authorize_inbound", "understand", "generate", "execute", "deliver"} <= steps
    decided = {labels["question"] for labels, _ in samples(worker, "portico_decisions_total")}
    assert {"inbound", "model", "tool", "egress"} <= decided
    assert ({"tool": "calculator", "status": "succeeded"}, 1.0) in [
        ({"tool": labels["tool"], "status": labels["status"]}, value)
        for labels, value in samples(worker, "portico_tool_runs_total")
    ]
    tokens = {labels["direction"]: value for labels, value in samples(worker, "portico_model_tokens_total")}
    assert tokens["output"] > 0
    assert samples(worker, "portico_turn_seconds_count")


def test_what_is_alerted_about_is_counted(worker: str) -> None:
    repeats = {
        labels["channel"]: value
        for labels, value in samples(worker, "portico_delivery_possible_repeats_total")
    }
    assert repeats["telegram"] >= 1
    assert repeats["web"] == 0, "there from the start"
    codes = {labels["code"]: value for labels, value in samples(worker, "portico_dead_letters_total")}
    assert codes["delivery_refused"] == 1
    outcomes = {
        (labels["channel"], labels["outcome"]): value
        for labels, value in samples(worker, "portico_deliveries_total")
    }
    assert outcomes["telegram", "refused"] == 1


def test_no_label_is_an_id_or_a_word_of_a_person(watched: Watched, worker: str) -> None:
    edge = read(watched.stack.url + "/metrics", TOKEN)
    for family in (*text_string_to_metric_families(worker), *text_string_to_metric_families(edge)):
        for sample in family.samples:
            assert set(sample.labels) <= LABELS, sample
            assert not any(
                re.search(r"[0-9a-f]{16}|person-|conversation-|tool-", v) for v in sample.labels.values()
            )


def test_the_edge_shows_its_metrics_to_the_token_that_opens_nothing_else(watched: Watched) -> None:
    told = read(watched.stack.url + "/metrics", TOKEN)
    for name in ("portico_task_queue_backlog", "portico_outbox_waiting", "portico_dead_letters_open"):
        assert name in names(told)
    assert ({"queue": "portico", "kind": "workflow"}, 1.0) in samples(told, "portico_task_queue_pollers")
    assert read(watched.stack.url + "/metrics", watched.key)
    for path, key in (
        ("/metrics", ""),
        ("/metrics", TOKEN[:-1]),
        ("/v1/dead-letters", TOKEN),
        ("/v1/me", TOKEN),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            read(watched.stack.url + path, key)
        assert refused.value.code == 401
        refused.value.close()


def test_alerts_and_dashboards_name_only_what_is_exposed(watched: Watched, worker: str) -> None:
    shown = names(worker) | names(read(watched.stack.url + "/metrics", TOKEN)) | names(sandbox_metrics())
    for part in ("temporal-metrics", "triton-metrics"):
        shown |= names(read(f"http://{watched.stack.address(part)}/metrics"))
    asked = {name for query in queries() for name in metrics_in(query)}
    assert asked - shown == set()


def sandbox_metrics() -> str:
    """As the service writes it, for two sandboxes."""
    state = SimpleNamespace(
        sandboxes=SimpleNamespace(all=lambda: [SimpleNamespace(paused=False), SimpleNamespace(paused=True)]),
        settings=SimpleNamespace(most=24),
    )
    request: Any = SimpleNamespace(app=SimpleNamespace(state=state))
    return bytes(asyncio.run(sandbox_app.metrics(request)).body).decode()


def queries() -> list[str]:
    rules = yaml.safe_load((OBSERVABILITY / "prometheus" / "alerts.yml").read_text())
    found = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    for path in sorted((OBSERVABILITY / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            found += [target["expr"] for target in panel["targets"]]
    return found


def metrics_in(query: str) -> set[str]:
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\bby \([^)]*\)", "", query)
    return {word for word in re.findall(r"[a-zA-Z_:][\w:]*", bare) if word not in WORDS}


def test_names_are_found_in_queries() -> None:
    query = 'sum by (tool) (increase(a_total{status=~"x|y"}[15m])) > 0.5 * max(b) and rate(c_bucket[5m])'
    assert metrics_in(query) == {"a_total", "b", "c_bucket"}
