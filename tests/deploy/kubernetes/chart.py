"""The chart as the tests give it: values that a team would write, and what Helm renders of them."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.machine import program
from tests.support import CHECKOUT

CHARTS = CHECKOUT / "infra" / "kubernetes"
CHART = CHARTS / "portico"
NODE_CHART = CHARTS / "portico-node"
RELEASE = "portico"
VERSION = "1.4.0"
SERVERS: dict[str, Any] = {
    "temporal": {
        "address": "temporal-frontend.temporal:7233",
        "peers": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "temporal"}}}],
    },
    "database": {"peers": [{"ipBlock": {"cidr": "10.20.0.5/32"}}]},
    "storage": {"url": "https://s3.example.com", "peers": [{"ipBlock": {"cidr": "10.20.0.6/32"}}]},
}
PLAIN: dict[str, Any] = {
    "site": "chat.example.com",
    "version": VERSION,
    "trustedProxies": ["10.244.0.0/16"],
    **SERVERS,
}
ROOM = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}


def a_set(*queues: str, replicas: int = 2) -> dict[str, Any]:
    return {"queues": list(queues), "replicas": replicas, "max": 6, "resources": ROOM}


SPLIT = {
    "all": None,
    "turns": a_set("portico", "portico-delivery"),
    "models": a_set("portico-inference", replicas=1),
    "tools": {**a_set("portico-tools"), "tools": True},
}
WHOLE: dict[str, Any] = {
    **PLAIN,
    "image": {"registry": "registry.example.com/team", "pullSecrets": ["registry"]},
    "images": {"worker": {"digest": "sha256:" + "a" * 64}},
    "settings": '[log]\nlevel = "debug"\n\n[limits]\nmessages_per_minute = 60\n',
    "own": {"functions": "own-functions", "policies": "own-policies", "intents": "own-intents"},
    "api": {"autoscaling": {"enabled": True}, "grpc": True, "runtimeClassName": "gvisor"},
    "worker": {
        "sets": SPLIT,
        "autoscaling": {"enabled": True, "by": "backlog"},
        "previous": [{"version": "1.3.0"}, {"version": "1.2.9", "worker": {"digest": "sha256:" + "b" * 64}}],
    },
    "triton": {
        "replicas": 2,
        "gpus": 1,
        "languageModels": {"existingClaim": "language-models"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    },
    "sandbox": {"appArmorProfile": "portico-sandbox", "nodeSelector": {"portico.dev/sandbox": "true"}},
    "temporalUi": {"replicas": 2},
    "ingress": {"enabled": False},
    "gateway": {"enabled": True, "parentRefs": [{"name": "edge", "namespace": "gateways"}]},
    "telemetry": {
        "scrapers": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "monitors": {"enabled": True, "labels": {"release": "monitoring"}},
        "otlpEndpoint": "http://collector.monitoring:4318",
        "peers": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
    },
}


def merged(values: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Tables are joined level by level, as Helm joins value files."""
    joined = dict(values)
    for key, value in more.items():
        before = joined.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        joined[key] = merged(before, **value) if both else value  # type: ignore[arg-type]
    return joined


@contextmanager
def values_file(values: Mapping[str, Any]) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        yield Path(file.name)


def try_render(values: Mapping[str, Any], *, chart: Path = CHART) -> subprocess.CompletedProcess[str]:
    with values_file(values) as file:
        command = (program("helm"), "template", RELEASE, chart, "-n", "somewhere", "-f", file)
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def render(values: Mapping[str, Any], *, chart: Path = CHART) -> list[dict[str, Any]]:
    done = try_render(values, chart=chart)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def pods(rendered: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Name → pod template of whatever makes pods."""
    return {
        found["metadata"]["name"]: found["spec"]["template"]
        for found in rendered
        if found["kind"] in ("Deployment", "Job", "DaemonSet")
    }
