"""The NetworkPolicies let through what compose.yaml's networks do, and nothing else."""

from __future__ import annotations

from itertools import combinations, permutations
from typing import Any

import pytest
import yaml

from tests.deploy.kubernetes.chart import PLAIN, WHOLE, merged, pods, render
from tests.deploy.kubernetes.reach import Door, Place, reaches
from tests.support import CHECKOUT

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(300)]
HERE = "portico"
PORTS = (53, 80, 443, 5432, 7233, 8001, 8002, 8080, 8081, 8090, 8181, 8282, 9090, 9464, 50051)
OPEN = {
    ("api", "opa"): {8181},
    ("api", "temporal-ui"): {8080},
    ("api", "triton"): {8001},
    ("worker", "opa"): {8181},
    ("worker", "triton"): {8001},
    ("worker", "sandbox"): {8090},
    ("api", "temporal"): {7233},
    ("api", "postgres"): {5432},
    ("api", "s3"): {443},
    ("worker", "temporal"): {7233},
    ("worker", "postgres"): {5432},
    ("worker", "s3"): {443},
    ("prepare", "temporal"): {7233},
    ("prepare", "postgres"): {5432},
    ("prepare", "s3"): {443},
    ("temporal-ui", "temporal"): {7233},
}
"""Of our parts and the three servers: everything that may be opened, from the left to the right."""
SHARE_AND_DO_NOT_TALK = {
    frozenset(pair)
    for pair in (
        *combinations(("api", "worker", "prepare"), 2),
        *combinations(("temporal-ui", "opa", "prepare"), 2),
        ("temporal-ui", "worker"),
        ("temporal-ui", "postgres"),
        ("temporal-ui", "s3"),
        ("opa", "temporal"),
        ("opa", "postgres"),
        ("opa", "s3"),
        *combinations(("temporal", "postgres", "s3"), 2),
    )
}
"""On one network in compose.yaml without ever speaking to each other: here they cannot."""
SERVERS = {
    "temporal": Place("10.244.9.1", "temporal", {"app.kubernetes.io/name": "temporal"}),
    "postgres": Place("10.20.0.5"),
    "s3": Place("10.20.0.6"),
}
ELSEWHERE = {
    "the world": Place("93.184.215.14"),
    "the world by IPv6": Place("2606:2800:220:1::1"),
    "the cloud's metadata": Place("169.254.169.254"),
    "a node": Place("10.1.2.3"),
    "another team's pod": Place("10.244.7.7", "elsewhere", {"app.kubernetes.io/component": "opa"}),
    "another release": Place(
        "10.244.7.8",
        HERE,
        {"app.kubernetes.io/name": "portico", "app.kubernetes.io/instance": "second"},
    ),
}
NAMES = Place("10.244.0.2", "kube-system", {"k8s-app": "kube-dns"})
CONTROLLER = Place("10.244.8.8", "ingress", {"app": "traefik"})
PROMETHEUS = Place("10.244.8.9", "monitoring", {"app": "prometheus"})


def _parts(rendered: list[dict[str, Any]]) -> dict[str, Place]:
    """A pod of each part, by component; every pod of a part has to be chosen by the same policies."""
    found: dict[str, Place] = {}
    for number, template in enumerate(pods(rendered).values()):
        labels = template["metadata"]["labels"]
        found[labels["app.kubernetes.io/component"]] = Place(f"10.244.1.{number + 1}", HERE, labels)
    return found


def _policies(rendered: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [found for found in rendered if found["kind"] == "NetworkPolicy"]


def _open(rendered: list[dict[str, Any]], source: Place, target: Place) -> set[int]:
    policies = _policies(rendered)
    return {port for port in PORTS if reaches(policies, HERE, source, target, Door("TCP", port))}


ONLY_THE_CONTROLLER = {
    "peers": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}]
}


@pytest.fixture(scope="module")
def plain() -> list[dict[str, Any]]:
    return render(merged(PLAIN, ingress=ONLY_THE_CONTROLLER))


def test_every_pair_is_as_the_table_says(plain: list[dict[str, Any]]) -> None:
    parts = _parts(plain)
    assert set(parts) == {"api", "worker", "prepare", "opa", "triton", "sandbox", "temporal-ui"}
    places = parts | SERVERS
    pairs = [pair for pair in permutations(places, 2) if pair[0] in parts or pair[1] in parts]
    found = {(a, b): _open(plain, places[a], places[b]) for a, b in pairs}
    assert {pair: ports for pair, ports in found.items() if ports} == OPEN


def test_the_table_is_compose_s_networks(plain: list[dict[str, Any]]) -> None:
    services = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())["services"]
    known = sorted({*_parts(plain), *SERVERS})
    on = {name: set(services[name]["networks"]) for name in known}
    sharing = {frozenset(pair) for pair in combinations(known, 2) if on[pair[0]] & on[pair[1]]}
    talking = {frozenset(pair) for pair in OPEN}
    assert talking.isdisjoint(SHARE_AND_DO_NOT_TALK)
    assert sharing == talking | SHARE_AND_DO_NOT_TALK


def test_only_edge_and_worker_reach_the_world_and_nobody_what_is_private(plain: list[dict[str, Any]]) -> None:
    compose = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())
    ways_out = {name for name, network in compose["networks"].items() if not network.get("internal")}
    parts = _parts(plain)
    for name, place in parts.items():
        may = bool(ways_out & set(compose["services"][name]["networks"]))
        for where, target in ELSEWHERE.items():
            expected = set(PORTS) if may and where.startswith("the world") else set()
            assert _open(plain, place, target) == expected, (name, where)


def test_only_the_edge_is_reached_from_outside(plain: list[dict[str, Any]]) -> None:
    for name, place in _parts(plain).items():
        assert _open(plain, CONTROLLER, place) == ({8080} if name == "api" else set()), name
        for where, source in ELSEWHERE.items():
            assert _open(plain, source, place) == set(), (name, where)


def test_names_are_asked_only_where_there_is_somebody_to_look_for(plain: list[dict[str, Any]]) -> None:
    policies = _policies(plain)
    asking = {
        name
        for name, place in _parts(plain).items()
        if reaches(policies, HERE, place, NAMES, Door("UDP", 53))
    }
    assert asking == {"api", "worker", "prepare", "temporal-ui"}


def test_where_no_controller_is_named_everybody_may_knock_at_the_edge() -> None:
    rendered = render(PLAIN)
    for name, place in _parts(rendered).items():
        for source in (CONTROLLER, *ELSEWHERE.values(), *SERVERS.values()):
            assert _open(rendered, source, place) == ({8080} if name == "api" else set()), name


def test_prometheus_reads_numbers_and_nothing_else() -> None:
    rendered = render(WHOLE)
    found = {name: _open(rendered, PROMETHEUS, place) for name, place in _parts(rendered).items()}
    assert found == {
        "api": {8080, 8081},  # a door for everybody where no controller is named
        "opa": {8282},
        "triton": {8002},
        "worker": {9464},
        "sandbox": {8090},
        "temporal-ui": set(),
        "prepare": set(),
    }


def test_traces_leave_edge_and_workers_for_the_collector_alone() -> None:
    rendered = render(WHOLE)
    policies, collector = _policies(rendered), Place("10.244.8.10", "monitoring", {"app": "collector"})
    sending = {
        name
        for name, place in _parts(rendered).items()
        if reaches(policies, HERE, place, collector, Door("TCP", 4318))
    }
    assert sending == {"api", "worker"}


def test_a_pod_that_no_policy_names_is_cut_off(plain: list[dict[str, Any]]) -> None:
    stray = Place(
        "10.244.1.99", HERE, {"app.kubernetes.io/name": "portico", "app.kubernetes.io/instance": "portico"}
    )
    for place in (*_parts(plain).values(), *SERVERS.values(), *ELSEWHERE.values(), NAMES):
        assert _open(plain, stray, place) == set()


def test_a_language_model_of_one_s_own_is_reached_where_it_is_said_to_be() -> None:
    llm = {"peers": [{"ipBlock": {"cidr": "10.20.0.8/32"}}], "ports": [11434, 8001]}
    gpus = {
        "peers": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "models"}}}],
        "ports": [8000],
    }
    rendered = render(merged(PLAIN, networkPolicy={"inner": [llm, gpus]}))
    policies = _policies(rendered)
    places = {"one": Place("10.20.0.8"), "other": Place("10.244.7.9", "models", {"app": "vllm"})}
    ports = (8000, 8001, 11434)
    for name, part in _parts(rendered).items():
        found = {
            (where, port)
            for where, place in places.items()
            for port in ports
            if reaches(policies, HERE, part, place, Door("TCP", port))
        }
        expected = {("one", 11434), ("one", 8001), ("other", 8000)} if name in ("api", "worker") else set()
        assert found == expected, name
        assert _open(rendered, part, ELSEWHERE["a node"]) == set(), name


def test_another_triton_is_reached_where_it_is() -> None:
    away = {"enabled": False, "address": "triton.gpu:8001", "peers": [{"ipBlock": {"cidr": "10.20.0.9/32"}}]}
    rendered = render(merged(PLAIN, triton=away))
    parts = _parts(rendered)
    assert "triton" not in parts
    reaching = {name for name, place in parts.items() if _open(rendered, place, Place("10.20.0.9"))}
    assert reaching == {"api", "worker"}
