"""What the deployment's tests need of a machine: a Docker daemon of their own, and programs of others.

Where no registry of images can be reached, the programs of others are built from their pinned modules. They and
the daemon's layers are kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from operations.setup.binaries import cache_directory
from operations.setup.golang import build
from tests.support import CHECKOUT

HERE = Path(__file__).parent
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PACKAGES = ("docker.io", "iptables", "debootstrap")
PROGRAMS = {
    # module's folder → (program, package)
    "compose": (("docker-compose", "github.com/docker/compose/v2/cmd"),),
    "caddy": (("caddy", "github.com/caddyserver/caddy/v2/cmd/caddy"),),
    "temporal": (
        ("temporal-server", "go.temporal.io/server/cmd/server"),
        ("temporal-sql-tool", "go.temporal.io/server/cmd/tools/sql"),
    ),
    "ui": (("ui-server", "github.com/temporalio/ui-server/v2/cmd/server"),),
    "kubernetes": tuple(
        (name, f"k8s.io/kubernetes/cmd/{name}")
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
    ),
    "etcd": (("etcd", "go.etcd.io/etcd/server/v3"),),
    "kwok": (("kwok", "sigs.k8s.io/kwok/cmd/kwok"),),
    "helm": (("helm", "helm.sh/helm/v3/cmd/helm"),),
    "terraform-docker": (
        ("terraform-provider-docker", "github.com/terraform-providers/terraform-provider-docker"),
    ),
    "terraform-kubectl": (
        ("terraform-provider-kubectl", "github.com/gavinbunney/terraform-provider-kubectl"),
    ),
}
STAMPS = {
    # module's folder → what a program says of itself, and where a release's own build writes it
    "compose": {"github.com/docker/compose/v2/internal.Version": "v2.40.3"},
    "kubernetes": {
        "k8s.io/component-base/version.gitVersion": "v1.36.3",
        "k8s.io/component-base/version.gitMajor": "1",
        "k8s.io/component-base/version.gitMinor": "36",
        "k8s.io/client-go/pkg/version.gitVersion": "v1.36.3",
    },
    "helm": {
        "helm.sh/helm/v3/internal/version.version": "v3.22.0",
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor": "36",
        "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor": "36",
    },
}


@dataclass(frozen=True)
class Docker:
    """A daemon, and how its client is called."""

    socket: Path
    configuration: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": str(self.configuration),
            "DOCKER_BUILDKIT": "1",
        }

    def run(self, *arguments: str, check: bool = True, timeout: float = 600) -> str:
        done = subprocess.run(
            ("/usr/bin/docker", *arguments),
            env=self.environment,
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0 or not check, f"docker {' '.join(arguments)}: {done.stderr[-3000:]}"
        return done.stdout.strip()


@contextmanager
def running_docker() -> Iterator[Docker]:
    """A daemon of the tests' own; layers and images stay in the user's cache. Needs root.

    One that a run before has left running, or another run has just now, is used and left as it is.
    """
    folder = cache_directory() / "deploy"
    plugins = folder / "docker-config" / "cli-plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    docker = Docker(folder / "docker.sock", plugins.parent)
    _install()
    _link(plugins / "docker-compose", program("docker-compose"))
    if _answers(docker):
        yield docker
        return
    with (folder / "docker.log").open("wb") as log:
        daemon = subprocess.Popen(_command(folder, docker), stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(docker, daemon)
        yield docker
    finally:
        daemon.terminate()
        daemon.wait(60)


def _install() -> None:
    """What Debian has of it; needs root, as the daemon does."""
    assert os.geteuid() == 0, "a Docker daemon of one's own needs root"
    if all(shutil.which(name) for name in ("dockerd", "debootstrap", "iptables")):
        return
    subprocess.run(("apt-get", "update", "-qq"), check=True)
    install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES)
    subprocess.run(install, check=True, stdout=subprocess.DEVNULL)


def _command(folder: Path, docker: Docker) -> tuple[str, ...]:
    places = ("--data-root", str(folder / "docker"), "--exec-root", "/run/portico-docker")
    more = ("--pidfile", str(folder / "docker.pid"), "--storage-driver", "overlay2")
    return ("dockerd", *places, *more, "--host", f"unix://{docker.socket}")


def _link(link: Path, target: Path) -> None:
    making = link.with_name(f".{link.name}.{os.getpid()}")
    making.symlink_to(target)
    making.replace(link)


def _answers(docker: Docker) -> bool:
    return bool(docker.run("version", "--format", "{{.Server.Version}}", check=False))


def _wait(docker: Docker, daemon: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + 60
    while not _answers(docker):
        log = docker.socket.with_name("docker.log")
        assert daemon.poll() is None, f"the daemon ended: {log.read_text()[-2000:]}"
        assert time.monotonic() < ends, f"the daemon does not come up: {log}"
        time.sleep(0.5)


def program(name: str) -> Path:
    """A program of another maker, built once from its pinned module."""
    module = next(folder for folder, built in PROGRAMS.items() if name in dict(built))
    source = HERE / "programs" / module
    digest = hashlib.sha256((source / "go.mod").read_bytes() + (source / "go.sum").read_bytes()).hexdigest()[
        :10
    ]
    built = cache_directory() / "deploy" / f"{name}-{digest}"
    if not built.exists():
        stamps = STAMPS.get(module, {}).items()
        flags = " ".join(("-s -w", *(f"-X {variable}={value}" for variable, value in stamps)))
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(source, folder, dirs_exist_ok=True)
            package = dict(PROGRAMS[module])[name]
            build(Path(folder), package, built, ldflags=flags, environment={"GOFLAGS": "-mod=mod -trimpath"})
    return built


def module_folder(name: str, module: str) -> Path:
    """The source of a module as `programs/NAME` pins it: for files that a program's maker ships beside it."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(HERE / "programs" / name, folder, dirs_exist_ok=True)
        command = ("go", "mod", "download", "-json", module)
        environment = {**os.environ, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
    return Path(json.loads(done.stdout)["Dir"])
