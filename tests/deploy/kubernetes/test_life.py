"""A release's life on a real control plane: installed, upgraded, rolled back, drained, removed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from tests.deploy.kubernetes.chart import CHART, PLAIN, RELEASE, SPLIT, merged, values_file
from tests.deploy.kubernetes.cluster import Cluster

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(600)]
OWNED = (
    "deployments,replicasets,pods,services,configmaps,serviceaccounts,jobs,networkpolicies,"
    "poddisruptionbudgets,horizontalpodautoscalers,ingresses"
)


def helm(cluster: Cluster, command: str, namespace: str, values: Mapping[str, Any]) -> str:
    with values_file(values) as file:
        wait = ("--wait", "--timeout", "120s")
        return cluster.helm(command, RELEASE, str(CHART), "-n", namespace, "-f", str(file), *wait)


def refused(cluster: Cluster, namespace: str, values: Mapping[str, Any]) -> str:
    with values_file(values) as file:
        done = cluster.call("helm", "upgrade", RELEASE, str(CHART), "-n", namespace, "-f", str(file))
    assert done.returncode != 0
    return done.stderr


def deployments(cluster: Cluster, namespace: str) -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"]: found for found in cluster.get("deployments", "-n", namespace)}


def running(cluster: Cluster, namespace: str, component: str) -> list[dict[str, Any]]:
    chosen = f"app.kubernetes.io/component={component}"
    found = cluster.get("pods", "-n", namespace, "-l", chosen, "--field-selector=status.phase=Running")
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def written(cluster: Cluster, namespace: str) -> dict[tuple[str, str], tuple[str, Any]]:
    """What was asked for, of everything that Helm or a controller keeps, and which object it is."""
    found = cluster.get(OWNED, "-n", namespace)
    return {
        (one["kind"], one["metadata"]["name"]): (one["metadata"]["uid"], one.get("spec", one.get("data")))
        for one in found
    }


def test_an_empty_cluster_has_everything_ready(cluster: Cluster, namespace: str) -> None:
    said = helm(cluster, "install", namespace, PLAIN)
    assert "https://chat.example.com" in said
    found = deployments(cluster, namespace)
    assert set(found) == {
        f"portico-{part}" for part in ("api", "opa", "sandbox", "temporal-ui", "triton", "worker-all-1-4-0")
    }
    for name, one in found.items():
        assert one["status"]["readyReplicas"] == one["spec"]["replicas"], name
    events = cluster.get("events", "-n", namespace)
    assert not [event for event in events if event["reason"] in ("FailedCreate", "FailedScheduling")]
    left = {one["metadata"]["name"] for one in cluster.get("jobs,networkpolicies", "-n", namespace)}
    assert not left & {"portico-prepare", "portico-promote"}, (
        "jobs and what they brought go when they are done"
    )


def test_no_pod_is_given_a_token_or_the_names_of_services(cluster: Cluster, namespace: str) -> None:
    helm(cluster, "install", namespace, PLAIN)
    for pod in cluster.get("pods", "-n", namespace):
        volumes = json.dumps(pod["spec"]["volumes"])
        assert "serviceAccountToken" not in volumes, pod["metadata"]["name"]
        assert pod["spec"]["enableServiceLinks"] is False
        assert pod["spec"]["serviceAccountName"] != "default"


def test_the_namespace_does_refuse_what_is_too_free(cluster: Cluster, namespace: str) -> None:
    container = {"name": "free", "image": "portico-api:1.4.0", "securityContext": {"privileged": True}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "free"},
        "spec": {"containers": [container]},
    }
    done = cluster.call("kubectl", "-n", namespace, "apply", "-f", "-", given=json.dumps(pod))
    assert "violates PodSecurity" in done.stderr


def test_the_same_values_again_change_nothing(cluster: Cluster, namespace: str) -> None:
    helm(cluster, "install", namespace, PLAIN)
    before = written(cluster, namespace)
    helm(cluster, "upgrade", namespace, PLAIN)
    assert written(cluster, namespace) == before


def test_an_upgrade_keeps_the_old_workers_until_they_are_let_go(cluster: Cluster, namespace: str) -> None:
    helm(cluster, "install", namespace, PLAIN)
    old = {pod["metadata"]["uid"] for pod in running(cluster, namespace, "worker")}
    newer = merged(PLAIN, version="1.5.0")
    said = [line for line in refused(cluster, namespace, newer).splitlines() if "1.4.0" in line]
    assert len(said) == 1
    assert "workers of version 1.4.0 still work" in said[0]
    assert "worker.previous=[{version: 1.4.0}]" in said[0]

    helm(
        cluster,
        "upgrade",
        namespace,
        merged(newer, worker={"previous": [{"version": "1.4.0", "replicas": 2}]}),
    )
    workers = running(cluster, namespace, "worker")
    assert Counter(pod["metadata"]["labels"]["portico.dev/build"] for pod in workers) == {
        "1.4.0": 2,
        "1.5.0": 2,
    }
    assert old <= {pod["metadata"]["uid"] for pod in workers}, "they went on working all the time"
    api = running(cluster, namespace, "api")
    assert {pod["spec"]["containers"][0]["image"] for pod in api} == {"portico-api:1.5.0"}

    helm(cluster, "upgrade", namespace, newer)
    workers = running(cluster, namespace, "worker")
    assert Counter(pod["metadata"]["labels"]["portico.dev/build"] for pod in workers) == {"1.5.0": 2}


def test_a_rollback_brings_back_what_was(cluster: Cluster, namespace: str) -> None:
    helm(cluster, "install", namespace, PLAIN)
    before = {kind_and_name: spec for kind_and_name, (_, spec) in written(cluster, namespace).items()}
    newer = merged(PLAIN, version="1.5.0", worker={"replaceAtOnce": True}, localOnly=False)
    helm(cluster, "upgrade", namespace, newer)
    assert "portico-worker-all-1-4-0" not in deployments(cluster, namespace)
    cluster.helm("rollback", RELEASE, "1", "-n", namespace, "--wait", "--timeout", "120s")
    after = {kind_and_name: spec for kind_and_name, (_, spec) in written(cluster, namespace).items()}
    stable = {pair for pair in before if pair[0] not in ("Pod", "ReplicaSet")}
    assert stable == {pair for pair in after if pair[0] not in ("Pod", "ReplicaSet")}
    assert {pair: before[pair] for pair in stable} == {pair: after[pair] for pair in stable}


def test_changed_settings_are_new_pods_of_edge_and_workers_alone(cluster: Cluster, namespace: str) -> None:
    helm(cluster, "install", namespace, PLAIN)
    before = _pods_by_part(cluster, namespace)
    helm(cluster, "upgrade", namespace, merged(PLAIN, settings="[limits]\nmessages_per_minute = 60\n"))
    after = _pods_by_part(cluster, namespace)
    assert {part for part in after if after[part] != before[part]} == {"api", "worker"}


def _pods_by_part(cluster: Cluster, namespace: str) -> dict[str, set[str]]:
    parts = ("api", "worker", "opa", "triton", "sandbox", "temporal-ui")
    return {part: {pod["metadata"]["uid"] for pod in running(cluster, namespace, part)} for part in parts}


def test_removing_leaves_nothing(cluster: Cluster, namespace: str) -> None:
    at_first = set(written(cluster, namespace))
    helm(cluster, "install", namespace, merged(PLAIN, worker={"sets": SPLIT}))
    helm(cluster, "upgrade", namespace, merged(PLAIN, worker={"sets": SPLIT}))
    cluster.helm("uninstall", RELEASE, "-n", namespace, "--wait", "--timeout", "120s")
    cluster.kubectl("wait", "-n", namespace, "--for=delete", "pods", "--all", "--timeout=60s")
    assert {pair for pair in written(cluster, namespace) if pair[0] != "ReplicaSet"} == at_first


def test_autoscalers_hold_the_least_and_keep_what_they_scaled(cluster: Cluster, namespace: str) -> None:
    scaled = merged(
        PLAIN,
        api={"replicas": 3, "autoscaling": {"enabled": True}},
        worker={"autoscaling": {"enabled": True}},
    )
    helm(cluster, "install", namespace, scaled)
    cluster.kubectl(
        "wait",
        "-n",
        namespace,
        "--for=jsonpath={.status.readyReplicas}=3",
        "deploy/portico-api",
        "--timeout=90s",
    )
    cluster.kubectl("scale", "-n", namespace, "deploy/portico-api", "--replicas=5")
    helm(cluster, "upgrade", namespace, scaled)
    assert deployments(cluster, namespace)["portico-api"]["spec"]["replicas"] == 5
