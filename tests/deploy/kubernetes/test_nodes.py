"""Nodes that are drained and zones that fail: where the pods are, and which may go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.deploy.kubernetes.chart import PLAIN, merged
from tests.deploy.kubernetes.cluster import NODES, Cluster
from tests.deploy.kubernetes.test_life import helm, running

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(600)]


def nodes_of(cluster: Cluster, namespace: str, component: str) -> Counter[str]:
    return Counter(pod["spec"]["nodeName"] for pod in running(cluster, namespace, component))


def test_pods_of_a_part_stand_apart(cluster: Cluster, namespace: str) -> None:
    helm(cluster, "install", namespace, merged(PLAIN, api={"replicas": 4}))
    assert nodes_of(cluster, namespace, "api") == dict.fromkeys(NODES, 1)
    for part in ("worker", "opa"):
        found = nodes_of(cluster, namespace, part)
        assert max(found.values()) == 1, part
        assert Counter(node[:-1] for node in found.elements()) == {"node-a": 1, "node-b": 1}, part


def test_new_pods_stand_apart_too_while_the_old_ones_go(cluster: Cluster, namespace: str) -> None:
    helm(cluster, "install", namespace, merged(PLAIN, api={"replicas": 4}))
    helm(cluster, "upgrade", namespace, merged(PLAIN, api={"replicas": 4}, settings="local_only = true\n"))
    assert nodes_of(cluster, namespace, "api") == dict.fromkeys(NODES, 1)


def test_a_drained_node_s_pods_move(cluster: Cluster, namespace: str) -> None:
    helm(cluster, "install", namespace, PLAIN)
    node = next(iter(nodes_of(cluster, namespace, "api")))
    cluster.kubectl("drain", node, "--delete-emptydir-data", "--timeout=60s")
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Available", "deploy", "--all", "--timeout=60s")
    assert node not in nodes_of(cluster, namespace, "api")
    assert nodes_of(cluster, namespace, "api").total() == 2


@pytest.fixture
def closed_nodes(cluster: Cluster) -> Iterator[Callable[..., None]]:
    """Nodes that take nobody, as a control plane's do."""
    taint, closed = "node-role.kubernetes.io/control-plane", set[str]()

    def close(*nodes: str) -> None:
        closed.update(nodes)
        cluster.kubectl("taint", "nodes", *nodes, f"{taint}=:NoSchedule")

    yield close
    cluster.kubectl("taint", "nodes", *closed, f"{taint}:NoSchedule-")


def test_one_node_is_enough_beside_those_that_take_nobody(
    cluster: Cluster, namespace: str, closed_nodes: Callable[..., None]
) -> None:
    closed_nodes(*NODES[1:])
    helm(cluster, "install", namespace, PLAIN)
    for part in ("api", "worker", "opa"):
        assert nodes_of(cluster, namespace, part) == {NODES[0]: 2}, part


def test_of_two_nodes_one_takes_over_while_the_other_is_drained(
    cluster: Cluster, namespace: str, closed_nodes: Callable[..., None]
) -> None:
    closed_nodes(*NODES[2:])
    helm(cluster, "install", namespace, PLAIN)
    stays, goes = NODES[:2]
    assert nodes_of(cluster, namespace, "api") == {stays: 1, goes: 1}
    cluster.kubectl("drain", goes, "--delete-emptydir-data", "--timeout=60s")
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Available", "deploy", "--all", "--timeout=60s")
    for part in ("api", "worker", "opa"):
        assert nodes_of(cluster, namespace, part) == {stays: 2}, part


@pytest.mark.parametrize("part", ["api", "worker", "opa"])
def test_the_last_pod_of_a_part_is_not_taken(cluster: Cluster, namespace: str, part: str) -> None:
    helm(cluster, "install", namespace, PLAIN)
    first, second = nodes_of(cluster, namespace, part)
    cluster.kubectl("cordon", *NODES)
    chosen = f"--pod-selector=app.kubernetes.io/component={part}"
    gone = ("--delete-emptydir-data", chosen, "--timeout=15s")
    cluster.kubectl("drain", first, *gone)
    done = cluster.call("kubectl", "drain", second, *gone)
    assert done.returncode != 0
    assert "would violate the pod's disruption budget" in done.stderr
    assert nodes_of(cluster, namespace, part) == {second: 1}


def test_a_part_of_one_pod_holds_no_node_up(cluster: Cluster, namespace: str) -> None:
    helm(cluster, "install", namespace, PLAIN)
    for part in ("sandbox", "triton"):
        (node,) = nodes_of(cluster, namespace, part)
        chosen = f"--pod-selector=app.kubernetes.io/component={part}"
        cluster.kubectl("drain", node, "--delete-emptydir-data", chosen, "--timeout=30s")
        assert node not in nodes_of(cluster, namespace, part)
        cluster.kubectl("uncordon", node)
