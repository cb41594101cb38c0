"""One control plane for all tests of the chart, and a namespace of its own for each."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.deploy.kubernetes.cluster import Cluster, running_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as running:
        yield running


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """One that admits pods of the restricted profile alone."""
    name = f"portico-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    level = "pod-security.kubernetes.io"
    cluster.kubectl("label", "namespace", name, f"{level}/enforce=restricted", f"{level}/warn=restricted")
    yield name
    cluster.kubectl("uncordon", "--selector=kubernetes.io/os=linux")
    cluster.kubectl("delete", "namespace", name, "--wait=false")
