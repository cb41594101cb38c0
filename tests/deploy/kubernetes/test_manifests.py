"""What the chart renders, held against a real API server: no field that it does not know, no pod too free."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.kubernetes.chart import NODE_CHART, PLAIN, SPLIT, WHOLE, merged, pods, render
from tests.deploy.kubernetes.cluster import Cluster
from tests.deploy.machine import module_folder
from tests.support import CHECKOUT

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(600)]
OBSERVABILITY = CHECKOUT / "infra" / "observability" / "prometheus"
LEAST = merged(
    PLAIN,
    networkPolicy={"enabled": False},
    sandbox={"enabled": False},
    temporalUi={"enabled": False},
    triton={"enabled": False, "address": "triton.gpu:8001"},
    worker={"promote": False},
    ingress={"enabled": False},
)
BY_CPU = merged(
    PLAIN,
    worker={"sets": SPLIT, "autoscaling": {"enabled": True, "by": "cpu"}},
    ingress={"controller": "nginx", "className": "nginx", "tlsSecret": "chat-tls"},
)
TLS = merged(
    WHOLE,
    temporal={
        "tls": {
            "enabled": True,
            "secret": "temporal-tls",
            "clientCertificate": True,
            "name": "temporal.example.com",
        },
        "apiKeySecret": "temporal-key",
    },
    temporalUi={"enabled": False},
)
CASES = {"plain": PLAIN, "whole": WHOLE, "least": LEAST, "by cpu": BY_CPU, "TLS": TLS}


@pytest.fixture(scope="module")
def definitions(cluster: Cluster) -> None:
    """The definitions of KEDA, the Gateway API and the Prometheus operator, out of their makers' own modules."""
    keda = module_folder("keda", "github.com/kedacore/keda/v2") / "config" / "crd" / "bases"
    operator = module_folder("prometheus-operator", "github.com/prometheus-operator/prometheus-operator")
    monitoring = operator / "example" / "prometheus-operator-crd"
    gateway = module_folder("gateway-api", "sigs.k8s.io/gateway-api") / "config" / "crd" / "experimental"
    for path in (
        keda / "keda.sh_scaledobjects.yaml",
        keda / "keda.sh_triggerauthentications.yaml",
        gateway / "gateway.networking.k8s.io_httproutes.yaml",
        monitoring / "monitoring.coreos.com_podmonitors.yaml",
        monitoring / "monitoring.coreos.com_prometheusrules.yaml",
    ):
        cluster.kubectl("apply", "--server-side", "-f", str(path))
        name = yaml.safe_load(path.read_text())["metadata"]["name"]
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=60s")


@pytest.mark.usefixtures("definitions")
@pytest.mark.parametrize("values", CASES.values(), ids=CASES.keys())
def test_the_server_takes_every_manifest(
    cluster: Cluster, namespace: str, values: dict[str, Any], tmp_path: Path
) -> None:
    rendered = render(values)
    for found in rendered:
        found["metadata"]["namespace"] = namespace
    file = tmp_path / "all.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": rendered}))
    done = cluster.call("kubectl", "apply", "--dry-run=server", "--validate=strict", "-f", str(file))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(rendered)
    assert "would violate PodSecurity" not in done.stderr
    kinds = {found["kind"] for found in rendered}
    if values is WHOLE:
        assert {"ScaledObject", "HTTPRoute", "HorizontalPodAutoscaler", "PodMonitor"} <= kinds


@pytest.mark.usefixtures("definitions")
@pytest.mark.parametrize(
    ("kind", "place"),
    [("ScaledObject", "spec"), ("HTTPRoute", "spec"), ("PodMonitor", "spec"), ("Deployment", "spec")],
)
def test_a_field_that_is_none_is_refused(cluster: Cluster, namespace: str, kind: str, place: str) -> None:
    found = next(one for one in render(WHOLE) if one["kind"] == kind)
    found["metadata"]["namespace"] = namespace
    found[place]["nosuchfield"] = "x"
    command = ("apply", "--dry-run=server", "--validate=strict", "-f", "-")
    done = cluster.call("kubectl", *command, given=json.dumps(found))
    assert done.returncode != 0
    assert "nosuchfield" in done.stderr


@pytest.mark.parametrize("values", CASES.values(), ids=CASES.keys())
def test_every_pod_is_closed(values: dict[str, Any]) -> None:
    for name, template in pods(render(values)).items():
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & set(spec), name
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name
            assert container["resources"]["requests"]["cpu"], name
            assert not container["image"].endswith((":latest", ":")), name
        _secrets_are_files(name, spec)


def _secrets_are_files(name: str, spec: dict[str, Any]) -> None:
    variables = [one for container in spec["containers"] for one in container.get("env", ())]
    assert not [one for one in variables if "valueFrom" in one], name
    for one in variables:
        if one["name"].endswith(("KEY", "TOKEN", "SECRET", "PASSWORD", "DATABASE__URL")):
            assert one["value"].removeprefix("file:").startswith("/run/secrets/"), one


def test_each_part_sees_only_its_own_secrets() -> None:
    given = {name: _keys(template["spec"]) for name, template in pods(render(PLAIN)).items()}
    assert given["portico-triton"] == {"triton_admin_key"}
    assert given["portico-sandbox"] == {"sandbox_key"}
    assert given["portico-opa"] == {"opa_token"}
    assert given["portico-temporal-ui"] == set()
    assert "owner_key" in given["portico-api"]
    assert not any("owner_key" in keys for name, keys in given.items() if name != "portico-api")


def _keys(spec: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    for volume in spec["volumes"]:
        for source in (volume, *volume.get("projected", {}).get("sources", ())):
            found |= {item["key"] for item in source.get("secret", {}).get("items", ())}
    return found


def test_a_digest_wins_over_a_tag_and_old_workers_keep_their_own_image() -> None:
    found = pods(render(WHOLE))
    images = {name: template["spec"]["containers"][0]["image"] for name, template in found.items()}
    ours = "registry.example.com/team/portico-worker"
    assert images["portico-worker-turns-1-4-0"] == f"{ours}@sha256:{'a' * 64}"
    assert images["portico-worker-turns-1-3-0"] == f"{ours}:1.3.0"
    assert images["portico-worker-turns-1-2-9"] == f"{ours}@sha256:{'b' * 64}"
    assert images["portico-api"] == "registry.example.com/team/portico-api:1.4.0"
    assert images["portico-opa"].startswith("openpolicyagent/opa:")


def test_the_version_that_still_works_keeps_its_size_and_is_drained_no_faster() -> None:
    previous = [
        {"version": "1.3.0"},
        {"version": "1.2.9", "replicas": 4},
        {"version": "1.2.8", "replicas": 1},
    ]
    rendered = render(merged(PLAIN, worker={"sets": {"all": {"replicas": 3}}, "previous": previous}))
    workers = {
        found["metadata"]["labels"]["portico.dev/build"]: found["spec"]["replicas"]
        for found in rendered
        if found["kind"] == "Deployment" and "portico.dev/build" in found["metadata"]["labels"]
    }
    assert workers == {"1.4.0": 3, "1.3.0": 3, "1.2.9": 4, "1.2.8": 1}
    budgets = [found for found in rendered if found["kind"] == "PodDisruptionBudget"]
    kept = {found["spec"]["selector"]["matchLabels"].get("portico.dev/build") for found in budgets}
    assert kept == {None, "1.4.0", "1.3.0", "1.2.9"}
    names = [found["metadata"]["name"] for found in budgets]
    assert len(names) == len(set(names))
    assert {found["metadata"]["labels"]["app.kubernetes.io/component"] for found in budgets} == {
        "api",
        "opa",
        "worker",
    }


def test_every_set_polls_its_queues_as_its_version() -> None:
    for name, template in pods(render(WHOLE)).items():
        if not name.startswith("portico-worker-"):
            continue
        told = {one["name"]: one["value"] for one in template["spec"]["containers"][0]["env"]}
        labels = template["metadata"]["labels"]
        assert json.loads(told["PORTICO_TEMPORAL__QUEUES"]) == SPLIT[labels["portico.dev/queues"]]["queues"]  # type: ignore[index]
        assert told["PORTICO_TEMPORAL__BUILD_ID"] == labels["portico.dev/build"]
        assert told["PORTICO_TEMPORAL__SPLIT"] == "true"
    plain = pods(render(PLAIN))["portico-api"]["spec"]["containers"][0]["env"]
    assert {"name": "PORTICO_TEMPORAL__SPLIT", "value": "false"} in plain


def test_the_packages_of_tools_are_where_tools_run() -> None:
    found = pods(render(WHOLE))
    assert "portico-worker-tools:" in found["portico-worker-tools-1-4-0"]["spec"]["containers"][0]["image"]
    profiles = {
        name: template["spec"]["securityContext"]["seccompProfile"] for name, template in found.items()
    }
    runtimes = {name for name, profile in profiles.items() if profile == {"type": "RuntimeDefault"}}
    own = {name: profile["localhostProfile"] for name, profile in profiles.items() if name not in runtimes}
    assert own == {
        "portico-sandbox": "portico/sandbox.json",
        **{
            f"portico-worker-tools-{version}": "portico/browser.json"
            for version in ("1-4-0", "1-3-0", "1-2-9")
        },
    }


def test_the_sandbox_service_is_told_what_its_image_tells_it() -> None:
    told = (CHECKOUT / "infra" / "docker" / "sandbox.Dockerfile").read_text()
    (command,) = re.findall(r"^CMD (\[.*?\])$", told, re.MULTILINE | re.DOTALL)
    known = {word for word in json.loads(command.replace("\\\n", "")) if word.startswith("--")}
    given = pods(render(PLAIN))["portico-sandbox"]["spec"]["containers"][0]["args"]
    assert known == {word.partition("=")[0] for word in given}


@pytest.mark.parametrize("part", ["portico-api", "portico-worker-tools-1-4-0", "portico-promote"])
def test_the_program_knows_every_variable(part: str, tmp_path: Path) -> None:
    make = (
        sys.executable,
        "-m",
        "entrypoints.cli.main",
        "deploy",
        "init",
        tmp_path,
        "--site",
        "chat.example.com",
    )
    subprocess.run(make, cwd=CHECKOUT, check=True, capture_output=True)
    found = pods(render(TLS))[part]["spec"]["containers"][0]["env"]
    given = {one["name"]: one["value"] for one in found}
    told = {
        name: value.replace("/run/secrets/portico", f"{tmp_path}/secrets") for name, value in given.items()
    }
    (tmp_path / "secrets" / "api_key").write_text("a-key-of-the-provider")
    temporal = "/run/secrets/temporal"
    told = {name: value.replace(temporal, f"{tmp_path}/secrets") for name, value in told.items()}
    told |= {"PORTICO_HOME": str(tmp_path / "home"), "PORTICO_CONFIG": str(tmp_path / "config/portico.toml")}
    read = "from portico.settings.home import Home; from portico.settings.load import load_settings as load; "
    show = read + "print(load(Home.from_environment()).model_dump_json())"
    done = subprocess.run(
        (sys.executable, "-c", show),
        cwd=CHECKOUT,
        env={"PATH": os.defpath, **told},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "unknown_variable" not in done.stderr + done.stdout
    settings = json.loads(done.stdout.splitlines()[-1])
    assert settings["temporal"]["split"] is True
    assert settings["temporal"]["tls"] is True
    assert settings["temporal"]["tls_ca"].endswith("/ca.crt")
    assert settings["temporal"]["tls_key"].endswith("/tls.key")
    assert settings["temporal"]["address"] == "temporal-frontend.temporal:7233"
    if part == "portico-api":
        assert settings["trusted_proxies"] == ["10.244.0.0/16"]
    if part.startswith("portico-worker"):
        assert settings["temporal"]["queues"] == ["portico-tools"]
        assert settings["temporal"]["build_id"] == "1.4.0"


def test_keda_counts_what_waits_for_this_version() -> None:
    scaled = [found for found in render(WHOLE) if found["kind"] == "ScaledObject"]
    triggers = [trigger["metadata"] for found in scaled for trigger in found["spec"]["triggers"]]
    queues = {"portico", "portico-inference", "portico-tools", "portico-delivery"}
    assert {one["taskQueue"] for one in triggers} == queues
    assert {(one["workerDeploymentName"], one["workerDeploymentBuildId"]) for one in triggers} == {
        ("portico", "1.4.0")
    }
    assert {one["enableTLS"] for one in triggers} == {"false"}


def test_keda_logs_in_as_the_workers_do() -> None:
    rendered = render(TLS)
    (told,) = [found for found in rendered if found["kind"] == "TriggerAuthentication"]
    given = {one["parameter"]: (one["name"], one["key"]) for one in told["spec"]["secretTargetRef"]}
    assert given == {
        "ca": ("temporal-tls", "ca.crt"),
        "cert": ("temporal-tls", "tls.crt"),
        "key": ("temporal-tls", "tls.key"),
        "apiKey": ("temporal-key", "api_key"),
    }
    triggers = [
        one for found in rendered if found["kind"] == "ScaledObject" for one in found["spec"]["triggers"]
    ]
    assert {one["authenticationRef"]["name"] for one in triggers} == {told["metadata"]["name"]}
    assert {one["metadata"]["enableTLS"] for one in triggers} == {"true"}


def test_prometheus_asks_every_part_under_the_name_that_alerts_know() -> None:
    rendered = render(WHOLE)
    prometheus = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text())
    expected = {one["job_name"]: _token(one) for one in prometheus["scrape_configs"]}
    del expected["temporal"]  # stands outside of the chart
    found = {}
    for monitor in (one for one in rendered if one["kind"] == "PodMonitor"):
        (asked,) = monitor["spec"]["podMetricsEndpoints"]
        (job,) = [one["replacement"] for one in asked["relabelings"] if one["targetLabel"] == "job"]
        found[job] = asked.get("authorization", {}).get("credentials", {}).get("key", "")
        assert monitor["metadata"]["labels"]["release"] == "monitoring"
        assert _listening(rendered, monitor["spec"]["selector"]["matchLabels"], asked["port"]), job
    assert found == expected


def _token(scraped: dict[str, Any]) -> str:
    return Path(scraped.get("authorization", {}).get("credentials_file", "")).name


def _listening(rendered: list[dict[str, Any]], labels: dict[str, str], port: str) -> bool:
    """Whether pods are chosen, and all of them have a port of this name."""
    chosen = [
        template["spec"]["containers"][0]["ports"]
        for template in pods(rendered).values()
        if labels.items() <= template["metadata"]["labels"].items()
    ]
    return bool(chosen) and all(port in [one["name"] for one in ports] for ports in chosen)


@pytest.mark.usefixtures("definitions")
def test_the_alerts_are_rules_that_the_operator_takes(cluster: Cluster, namespace: str) -> None:
    told = (CHECKOUT / "docs" / "observability.md").read_text()
    (command,) = re.findall(r"^(\{ printf .*alerts\.yml; \}) \| kubectl", told, re.MULTILINE | re.DOTALL)
    done = subprocess.run(("sh", "-c", command), cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert yaml.safe_load(done.stdout)["spec"] == yaml.safe_load((OBSERVABILITY / "alerts.yml").read_text())
    given = ("-n", namespace, "apply", "--dry-run=server", "--validate=strict", "-f", "-")
    cluster.kubectl(*given, given=done.stdout)


def test_the_node_s_part_has_the_node_s_root_only_where_it_loads_a_profile() -> None:
    spec = pods(render({}, chart=NODE_CHART))["portico"]["spec"]
    assert "initContainers" not in spec
    assert [one["hostPath"]["path"] for one in spec["volumes"] if "hostPath" in one] == [
        "/var/lib/kubelet/seccomp"
    ]
    rendered = render({"appArmor": True}, chart=NODE_CHART)
    spec = pods(rendered)["portico"]["spec"]
    (loading,) = spec["initContainers"]
    (staying,) = spec["containers"]
    assert loading["image"] == staying["image"]
    assert "privileged" not in staying["securityContext"]
    assert "node" not in [one["name"] for one in staying["volumeMounts"]]
    program, profile = (Path(word).name for word in loading["command"][1:3])
    files = next(found for found in rendered if found["kind"] == "ConfigMap")["data"]
    assert files[profile].strip() == (CHECKOUT / "infra" / "docker" / profile).read_text().strip()
    assert files[program].strip() == (NODE_CHART / "files" / program).read_text().strip()


@pytest.mark.parametrize("apparmor", [False, True])
def test_the_node_s_part_needs_a_namespace_of_its_own(
    cluster: Cluster, namespace: str, apparmor: bool
) -> None:
    rendered = render({"image": {"tag": "1.4.0"}, "appArmor": apparmor}, chart=NODE_CHART)
    everything = json.dumps({"apiVersion": "v1", "kind": "List", "items": rendered})
    refused = cluster.call("kubectl", "-n", namespace, "apply", "-f", "-", given=everything)
    assert "would violate PodSecurity" in refused.stderr
    profiles = next(found for found in rendered if found["kind"] == "ConfigMap")["data"]
    for name, source in (("sandbox.json", "seccomp.json"), ("browser.json", "seccomp-browser.json")):
        shipped = json.loads((NODE_CHART.parents[1] / "docker" / source).read_text())
        assert json.loads(profiles[name]) == shipped
    level = "pod-security.kubernetes.io/enforce=privileged"
    cluster.kubectl("label", "--overwrite", "namespace", namespace, level)
    cluster.kubectl("-n", namespace, "delete", "daemonset", "portico")
    cluster.kubectl("-n", namespace, "apply", "-f", "-", given=everything)
    cluster.kubectl("-n", namespace, "rollout", "status", "daemonset/portico", "--timeout=60s")
    assert len(cluster.get("pods", "-n", namespace)) == 4
