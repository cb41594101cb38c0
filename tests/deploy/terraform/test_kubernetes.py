"""The chart's manifests, applied by Terraform to a real control plane."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.kubernetes.chart import CHART, PLAIN, RELEASE, merged, values_file
from tests.deploy.kubernetes.cluster import Cluster, running_cluster
from tests.deploy.terraform.program import Terraform

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(900)]
EXAMPLE = "examples/kubernetes"
NAMESPACE = "portico"


@dataclass(frozen=True)
class Applied:
    terraform: Terraform
    cluster: Cluster
    folder: Path

    def render(self, version: str, **more: Any) -> None:
        with values_file(merged(PLAIN, version=version, **more)) as values:
            words = ("template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--values", str(values))
            (self.folder / "portico.yaml").write_text(self.cluster.helm(*words))

    def run(self, *words: str, code: int = 0, **more: str) -> str:
        given = {
            "kubeconfig": str(self.cluster.kubeconfig),
            "manifests_file": str(self.folder / "portico.yaml"),
            "rollout_timeout": "60s",
            **more,
        }
        options = ("-no-color", "-input=false", *(f"-var={name}={value}" for name, value in given.items()))
        return self.terraform.run(EXAMPLE, *words, *options, code=code).output

    def names(self, kind: str) -> set[str]:
        return {one["metadata"]["name"] for one in self.cluster.get(kind, "-n", NAMESPACE)}

    def version(self) -> str:
        found = self.cluster.get("deployment", "portico-api", "-n", NAMESPACE)[0]
        image: str = found["spec"]["template"]["spec"]["containers"][0]["image"]
        return image.rpartition(":")[2]


@pytest.fixture(scope="module")
def applied(terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applied]:
    with running_cluster() as cluster:
        made = Applied(terraform, cluster, tmp_path_factory.mktemp("rendered"))
        made.render("1.0.0")
        terraform.init(EXAMPLE)
        made.run("apply", "-auto-approve")
        yield made


def test_every_part_is_there_and_ready(applied: Applied) -> None:
    for found in applied.cluster.get("deployment", "-n", NAMESPACE):
        wanted = found["spec"]["replicas"]
        assert found["status"].get("readyReplicas") == wanted, found["metadata"]["name"]
    assert {"portico-api", "portico-opa"} <= applied.names("deployment")
    assert len(applied.names("networkpolicy")) > 3


def test_the_namespace_admits_only_restricted_pods(applied: Applied) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "free"},
        "spec": {"containers": [{"name": "a", "image": "a", "securityContext": {"privileged": True}}]},
    }
    said = applied.cluster.call("kubectl", "apply", "-n", NAMESPACE, "-f", "-", given=json.dumps(pod))
    assert "violates PodSecurity" in said.stderr


def test_a_second_plan_is_empty_and_a_second_apply_changes_nothing(applied: Applied) -> None:
    applied.run("plan", "-detailed-exitcode")
    assert "0 added, 0 changed, 0 destroyed" in applied.run("apply", "-auto-approve")


def test_what_was_changed_by_hand_is_seen_and_put_back(applied: Applied) -> None:
    applied.cluster.kubectl("delete", "networkpolicy", "--all", "-n", NAMESPACE)
    applied.run("plan", "-detailed-exitcode", code=2)
    applied.run("apply", "-auto-approve")
    assert len(applied.names("networkpolicy")) > 3
    applied.run("plan", "-detailed-exitcode")


def test_another_version_is_rolled_out_and_waited_for(applied: Applied) -> None:
    applied.render("1.0.1")
    applied.run("plan", "-detailed-exitcode", code=2)
    applied.run("apply", "-auto-approve")
    assert applied.version() == "1.0.1"
    applied.run("plan", "-detailed-exitcode")


def test_pods_that_never_get_ready_end_the_apply(applied: Applied) -> None:
    applied.render("1.0.2", api={"nodeSelector": {"portico.dev/nowhere": "true"}})
    said = applied.run("apply", "-auto-approve", code=1, rollout_timeout="10s")
    assert "portico-api" in said
    applied.render("1.0.2")
    applied.run("apply", "-auto-approve")
    applied.run("plan", "-detailed-exitcode")


def test_destroy_keeps_the_namespace_and_what_others_put_there(applied: Applied) -> None:
    applied.cluster.kubectl("create", "secret", "generic", "mine", "-n", NAMESPACE, "--from-literal=a=b")
    applied.run("destroy", "-auto-approve")
    assert applied.names("deployment") == set()
    assert "mine" in applied.names("secret")
    applied.run("apply", "-auto-approve")
    assert "portico-api" in applied.names("deployment")


def test_destroy_deletes_the_namespace_when_told_so(applied: Applied) -> None:
    applied.run("apply", "-auto-approve", destroy_data="true")
    applied.run("destroy", "-auto-approve", destroy_data="true")
    left = {one["metadata"]["name"] for one in applied.cluster.get("namespace")}
    assert NAMESPACE not in left
