"""Writes the dashboards beside: `python -m infra.observability.grafana.make`. What is committed is what this writes.

A panel is a title, a unit, and queries with the name of their lines; everything else is the same for all.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "prometheus"}
COLUMNS, HEIGHT = 3, 8
WIDTH = 24 // COLUMNS
SCHEMA = 39


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    """(PromQL, name of each line)."""
    about: str = ""
    kind: str = "timeseries"


def _p95(metric: str, by: str) -> str:
    return f"histogram_quantile(0.95, sum by ({by}, le) (rate({metric}_bucket[5m])))"


def _rate(metric: str, by: str, where: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{where}[5m]))"


TURNS = (
    Panel("Parts that answer", "short", (("up", "{{job}} {{instance}}"),), "1: it answers", "stat"),
    Panel("Turns a second", "reqps", ((_rate("portico_turn_seconds_count", "channel"), "{{channel}}"),)),
    Panel(
        "Arrival to reply, p95",
        "s",
        ((_p95("portico_turn_seconds", "channel"), "{{channel}}"),),
        "From the platform's request to the platform's ack of the reply",
    ),
    Panel("Time of each step, p95", "s", ((_p95("portico_step_seconds", "step"), "{{step}}"),)),
    Panel(
        "Steps that are tried again, a second",
        "reqps",
        ((_rate("portico_step_seconds_count", "step", '{end="again"}'), "{{step}}"),),
        "Something that they need is unavailable",
    ),
    Panel(
        "Webhooks by end, a second",
        "reqps",
        ((_rate("portico_events_total", "channel, end"), "{{channel}} {{end}}"),),
    ),
    Panel("Webhook to ack, p95", "s", ((_p95("portico_ack_seconds", "channel"), "{{channel}}"),)),
    Panel(
        "Events in conversations, a second",
        "reqps",
        ((_rate("portico_arrivals_total", "channel, end"), "{{channel}} {{end}}"),),
    ),
    Panel(
        "Decisions of policy, a second",
        "reqps",
        ((_rate("portico_decisions_total", "question, effect"), "{{question}}: {{effect}}"),),
    ),
    Panel(
        "Deliveries by outcome, a second",
        "reqps",
        ((_rate("portico_deliveries_total", "channel, outcome"), "{{channel}} {{outcome}}"),),
    ),
    Panel(
        "Possible repeats in an hour",
        "short",
        (("sum by (channel) (increase(portico_delivery_possible_repeats_total[1h]))", "{{channel}}"),),
        "Sent again with a mark, because nobody knows whether the first arrived",
    ),
    Panel("Messages that have not left", "short", (("max(portico_outbox_waiting)", "messages"),)),
    Panel("Dead letters, open", "short", (("max(portico_dead_letters_open)", "open"),), kind="stat"),
    Panel(
        "Tasks that wait",
        "short",
        (("max by (queue, kind) (portico_task_queue_backlog)", "{{queue}} {{kind}}"),),
    ),
    Panel(
        "How long the first of them waits",
        "s",
        (("max by (queue, kind) (portico_task_queue_backlog_age_seconds)", "{{queue}} {{kind}}"),),
    ),
)
PARTS = (
    Panel(
        "Tokens a second",
        "short",
        ((_rate("portico_model_tokens_total", "route, direction"), "{{route}} {{direction}}"),),
    ),
    Panel(
        "Tokens today",
        "short",
        (("max by (route, direction) (portico_model_tokens_today)", "{{route}} {{direction}}"),),
    ),
    Panel(
        "Failures of a route in a row",
        "short",
        (("max by (route) (portico_model_route_failing)", "{{route}}"),),
    ),
    Panel(
        "Texts understood",
        "short",
        (("portico_understood_texts", "{{answered}}"),),
        "kept: from memory; joined: with an equal one; asked: by Triton",
    ),
    Panel("Share that did not cost Triton", "percentunit", (("portico_understand_hit_rate", "share"),)),
    Panel(
        "Triton: requests a second",
        "reqps",
        (
            (_rate("nv_inference_request_success", "model"), "{{model}}"),
            (_rate("nv_inference_request_failure", "model"), "{{model}} failed"),
        ),
    ),
    Panel(
        "Triton: time in the queue of a request",
        "µs",
        (
            (
                "sum by (model) (rate(nv_inference_queue_duration_us[5m]))"
                " / sum by (model) (rate(nv_inference_request_success[5m]) > 0)",
                "{{model}}",
            ),
        ),
    ),
    Panel(
        "Tools by end, a second",
        "reqps",
        ((_rate("portico_tool_runs_total", "tool, status"), "{{tool}} {{status}}"),),
    ),
    Panel(
        "Tools that are there",
        "short",
        (("portico_tools", "{{state}}"), ("portico_tool_problems", "problems")),
    ),
    Panel(
        "Sandboxes",
        "short",
        (("sum by (state) (portico_sandboxes)", "{{state}}"), ("sum(portico_sandboxes_most)", "most")),
    ),
    Panel(
        "Worker: free slots",
        "short",
        (("temporal_worker_task_slots_available", "{{instance}} {{worker_type}}"),),
    ),
    Panel("Worker: conversations in memory", "short", (("temporal_sticky_cache_size", "{{instance}}"),)),
    Panel(
        "Worker: task waits before it starts, p95",
        "s",
        ((_p95("temporal_workflow_task_schedule_to_start_latency_seconds", "instance"), "{{instance}}"),),
    ),
    Panel(
        "Temporal: requests a second",
        "reqps",
        ((_rate("service_requests", "service_name"), "{{service_name}}"),),
    ),
    Panel("Temporal's database, p95", "s", ((_p95("persistence_latency", "operation"), "{{operation}}"),)),
)
DASHBOARDS = {
    "turns": ("Portico: turns", TURNS),
    "parts": ("Portico: models, tools, parts", PARTS),
}


def dashboard(uid: str) -> dict[str, Any]:
    title, panels = DASHBOARDS[uid]
    return {
        "uid": f"portico-{uid}",
        "title": title,
        "tags": ["portico"],
        "schemaVersion": SCHEMA,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": []},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, COLUMNS)
    return {
        "id": number + 1,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}}
        if panel.kind == "timeseries"
        else {},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": query, "legendFormat": name}
            for place, (query, name) in enumerate(panel.queries)
        ],
    }


def text(uid: str) -> str:
    return json.dumps(dashboard(uid), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    for uid in DASHBOARDS:
        (FOLDER / f"{uid}.json").write_text(text(uid))


if __name__ == "__main__":
    main()
