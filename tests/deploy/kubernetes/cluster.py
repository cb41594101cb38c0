"""A real control plane on loopback: etcd, API server, controllers, scheduler. Its nodes are kwok's.

What is real: storage, validation, admission (PodSecurity, quotas), every controller, scheduling, eviction. What is
not: a kwok node says that a pod runs without starting anything, so images, probes and network policies are not tried.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.machine import module_folder, program
from tests.portico.servers import free_port

NODES = ("node-a1", "node-a2", "node-b1", "node-b2")
START_WITHIN_S = 60.0
STOP_WITHIN_S = 30.0
STAGES = (
    "node/fast/node-initialize.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
)


@dataclass(frozen=True)
class Cluster:
    """A control plane, and how its clients are called."""

    folder: Path

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "HELM_CACHE_HOME": str(self.folder / "helm" / "cache"),
            "HELM_CONFIG_HOME": str(self.folder / "helm" / "config"),
            "HELM_DATA_HOME": str(self.folder / "helm" / "data"),
            "NO_PROXY": "127.0.0.1",
        }

    def call(self, name: str, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        """`kubectl` or `helm`, whatever comes of it."""
        return subprocess.run(
            (program(name), *arguments),
            env=self.environment,
            input=given,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        done = self.call("kubectl", *arguments, given=given)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr[-3000:]}"
        return done.stdout

    def helm(self, *arguments: str) -> str:
        done = self.call("helm", *arguments)
        assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stderr[-3000:]}"
        return done.stdout

    def get(self, *arguments: str) -> list[dict[str, Any]]:
        """The objects that `kubectl get` finds."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        items: list[dict[str, Any]] = found.get("items", [found])
        return items


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Up with four ready nodes in two zones in some seconds; stopped from the outside in."""
    with tempfile.TemporaryDirectory(prefix="portico-cluster-", dir="/tmp") as name, ExitStack() as parts:
        folder = Path(name)
        cluster = Cluster(folder)
        token, port, etcd = secrets.token_hex(16), free_port(), free_port()
        (folder / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
        cluster.kubeconfig.write_text(json.dumps(_kubeconfig(port, token)))
        _etcd(parts, folder, etcd)
        _api_server(parts, folder, port, etcd)
        _until(
            "the API server answers", lambda: cluster.call("kubectl", "get", "--raw=/readyz").stdout == "ok"
        )
        _controllers(parts, folder, cluster)
        cluster.kubectl("apply", "-f", "-", given=json.dumps(_nodes()))
        _until("all nodes are ready", lambda: _ready_nodes(cluster) == len(NODES))
        _until(
            "the first account is there",
            lambda: cluster.call("kubectl", "get", "serviceaccount", "default").returncode == 0,
        )
        yield cluster


def _etcd(parts: ExitStack, folder: Path, port: int) -> None:
    peers = free_port()
    parts.enter_context(
        _running(
            folder,
            "etcd",
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{port}",
            f"--advertise-client-urls=http://127.0.0.1:{port}",
            f"--listen-peer-urls=http://127.0.0.1:{peers}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peers}",
            f"--initial-cluster=default=http://127.0.0.1:{peers}",
            "--unsafe-no-fsync=true",
            "--log-level=error",
        )
    )


def _api_server(parts: ExitStack, folder: Path, port: int, etcd: int) -> None:
    key = folder / "accounts.key"
    subprocess.run(("openssl", "genrsa", "-out", key, "2048"), check=True, capture_output=True)
    parts.enter_context(
        _running(
            folder,
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={folder / 'certificates'}",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",  # as clusters do: what refuses is PodSecurity
            "--service-account-issuer=https://cluster.portico.invalid",
            f"--service-account-signing-key-file={key}",
            f"--service-account-key-file={key}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",
        )
    )


def _controllers(parts: ExitStack, folder: Path, cluster: Cluster) -> None:
    kubeconfig = f"--kubeconfig={cluster.kubeconfig}"
    parts.enter_context(
        _running(
            folder,
            "kube-controller-manager",
            kubeconfig,
            f"--service-account-private-key-file={folder / 'accounts.key'}",
            "--use-service-account-credentials=true",
            "--leader-elect=false",
            "--secure-port=0",
            "--node-monitor-grace-period=2h",  # kwok's nodes renew no lease
        )
    )
    parts.enter_context(
        _running(folder, "kube-scheduler", kubeconfig, "--leader-elect=false", "--secure-port=0")
    )
    shipped = module_folder("kwok", "sigs.k8s.io/kwok") / "kustomize" / "stage"
    stages = folder / "stages.yaml"
    stages.write_text("\n---\n".join((shipped / stage).read_text() for stage in STAGES))
    parts.enter_context(_running(folder, "kwok", kubeconfig, "--manage-all-nodes=true", f"--config={stages}"))


@contextmanager
def _running(folder: Path, name: str, *arguments: str) -> Iterator[None]:
    with (folder / f"{name}.log").open("wb") as log:
        started = subprocess.Popen(
            (program(name), *arguments), cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield
    finally:
        started.terminate()
        try:
            started.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()
        if kept := os.environ.get("PORTICO_TEST_CLUSTER_LOGS"):
            shutil.copy(folder / f"{name}.log", kept)


def _until(what: str, holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + START_WITHIN_S
    while not holds():
        assert time.monotonic() < ends, f"in vain: {what}"
        time.sleep(0.1)


def _ready_nodes(cluster: Cluster) -> int:
    found = cluster.call("kubectl", "get", "nodes", "--no-headers").stdout
    return sum(line.split()[1] == "Ready" for line in found.splitlines())


def _kubeconfig(port: int, token: str) -> dict[str, Any]:
    server = {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": server}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }


def _nodes() -> dict[str, Any]:
    """Two nodes in each of two zones, each with place for many pods."""
    room = {"cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "200Gi"}
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {
                    "name": name,
                    "labels": {
                        "kubernetes.io/hostname": name,
                        "kubernetes.io/os": "linux",
                        "kubernetes.io/arch": "amd64",
                        "topology.kubernetes.io/zone": name[:-1],
                    },
                    "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
                },
                "status": {"allocatable": room, "capacity": room},
            }
            for name in NODES
        ],
    }
