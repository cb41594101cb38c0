"""What the deployment's tests need of a machine: a Docker daemon of their own, and images under official names.

Where no registry of images can be reached, the base image is made with debootstrap and the programs of others are
built from their pinned modules. Both are kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from portico.embedded.binaries import OPA, VERSITYGW, cache_directory
from tests.support import CHECKOUT

HERE = Path(__file__).parent
IMAGES = HERE / "images"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
BASE = "debian:bookworm-slim"
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
    """A daemon of its own. Needs root."""
    assert os.geteuid() == 0, "a Docker daemon of one's own needs root"
    if missing := [name for name in ("dockerd", "debootstrap", "iptables") if shutil.which(name) is None]:
        subprocess.run(("apt-get", "update", "-qq"), check=True)
        install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES)
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
        assert missing
    with tempfile.TemporaryDirectory(prefix="portico-docker-", dir="/tmp") as name:
        root = Path(name)
        plugins = root / "config" / "cli-plugins"
        plugins.mkdir(parents=True)
        (plugins / "docker-compose").symlink_to(program("docker-compose"))
        docker = Docker(root / "docker.sock", root / "config")
        with (root / "log").open("wb") as log:
            command = ("dockerd", "--data-root", root / "data", "--exec-root", root / "exec")
            more = (
                "--pidfile",
                root / "pid",
                "--host",
                f"unix://{docker.socket}",
                "--storage-driver",
                "overlay2",
            )
            daemon = subprocess.Popen((*command, *more), stdout=log, stderr=log, start_new_session=True)
        try:
            _wait(docker)
            yield docker
        finally:
            daemon.terminate()
            daemon.wait(60)


def _wait(docker: Docker) -> None:
    ends = time.monotonic() + 60
    while not docker.run("info", "--format", "{{.ServerVersion}}", check=False):
        assert time.monotonic() < ends, "the daemon does not come up"
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
        built.parent.mkdir(parents=True, exist_ok=True)
        stamps = STAMPS.get(module, {}).items()
        flags = " ".join(("-s -w", *(f"-X {variable}={value}" for variable, value in stamps)))
        making = built.with_suffix(".making")
        environment = {
            **os.environ,
            "CGO_ENABLED": "0",
            "GOFLAGS": "-mod=mod -trimpath",
            "GOTOOLCHAIN": "local",
        }
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            shutil.copytree(source, work, dirs_exist_ok=True)
            command = ("go", "build", "-ldflags", flags, "-o", str(making), dict(PROGRAMS[module])[name])
            subprocess.run(command, cwd=work, env=environment, check=True)
        making.rename(built)
    return built


def provide_images(docker: Docker) -> None:
    """The base, the programs of others under the names in compose.yaml, and our own."""
    _base(docker)
    names = _names()
    _image(docker, "postgres.Dockerfile", names["postgres"], {})
    for tag in (names["temporal"], names["temporal-schema"]):
        _image(
            docker,
            "program.Dockerfile",
            tag,
            {n: program(n) for n in ("temporal-server", "temporal-sql-tool")},
        )
    _image(docker, "program.Dockerfile", names["s3"], {"versitygw": VERSITYGW.path})
    for service, file, binary in (("opa", "opa", OPA.path), ("caddy", "caddy", program("caddy"))):
        _image(docker, "program.Dockerfile", "portico-test-program", {file: binary})
        _image(docker, f"{file}.Dockerfile", names[service], {})
    _image(docker, "program.Dockerfile", "portico-test-program", {"ui-server": program("ui-server")})
    _image(docker, "ui.Dockerfile", names["temporal-ui"], {})
    for target in ("api", "worker"):
        _own(docker, "portico.Dockerfile", f"portico-{target}:dev", "--target", target)
    _own(docker, "triton.Dockerfile", "portico-triton:dev")
    _own(docker, "sandbox.Dockerfile", "portico-sandbox:dev")


def _names() -> dict[str, str]:
    """Service → image, with the versions that compose.yaml names."""
    text = (CHECKOUT / "compose.yaml").read_text()
    found = re.findall(r"^  ([\w-]+):\n(?:    .*\n)*?    image: (\S+)$", text, re.MULTILINE)
    return {service: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", image) for service, image in found}


def _base(docker: Docker) -> None:
    archive = cache_directory() / "deploy" / "bookworm.tar"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        sources = "".join(path.read_text() for path in Path("/etc/apt").rglob("*.sources"))
        sources += "".join(path.read_text() for path in Path("/etc/apt").glob("sources.list"))
        mirror = re.search(r"(?:^URIs: |^deb )(\S+)", sources, re.MULTILINE)
        assert mirror, "no package mirror is configured"
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            root = Path(folder) / "root"
            subprocess.run(
                ("debootstrap", "--variant=minbase", "bookworm", root, mirror[1]),
                check=True,
                stdout=subprocess.DEVNULL,
            )
            for cached in (*root.glob("var/cache/apt/archives/*.deb"), *root.glob("var/lib/apt/lists/*_*")):
                cached.unlink()
            making = archive.with_suffix(".making")
            subprocess.run(("tar", "-C", root, "--numeric-owner", "-cf", making, "."), check=True)
            making.rename(archive)
    docker.run("import", "--change", 'CMD ["bash"]', str(archive), BASE)


def _image(docker: Docker, file: str, tag: str, programs: dict[str, Path]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        (context / "programs").mkdir()
        for name, path in programs.items():
            shutil.copy(path, context / "programs" / name)
            (context / "programs" / name).chmod(0o755)
        for script in IMAGES.glob("*.sh"):
            shutil.copy(script, context)
        docker.run("build", "-q", "-f", str(IMAGES / file), "-t", tag, str(context))


def _own(docker: Docker, file: str, tag: str, *options: str) -> None:
    secret = ("--secret", f"id=ca,src={CERTIFICATES}") if CERTIFICATES.exists() else ()
    dockerfile = CHECKOUT / "infra" / "docker" / file
    docker.run(
        "build", "-q", *secret, "-f", str(dockerfile), "-t", tag, *options, str(CHECKOUT), timeout=1500
    )
