"""The images of the compose deployment, under the names that compose.yaml gives them, without a registry of images.

The base is made with debootstrap, the programs of others are built from their pinned modules, ours from their own
Dockerfiles. A daemon that has them already, in its layers, answers in seconds.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from operations.setup.binaries import OPA, VERSITYGW, cache_directory
from tests.deploy.machine import CERTIFICATES, HERE, Docker, module_folder, program
from tests.support import CHECKOUT

IMAGES = HERE / "images"
BASE = "debian:bookworm-slim"
TAG = "test"
KEPT_LAYERS = "12GB"


def provide_images(docker: Docker) -> None:
    """The base, the programs of others under the names in compose.yaml, and our own as `portico-*:test`."""
    _base(docker)
    _others(docker)
    for target in ("api", "worker"):
        build_own(docker, "portico.Dockerfile", f"portico-{target}:{TAG}", "--target", target)
    build_own(docker, "triton.Dockerfile", f"portico-triton:{TAG}")
    build_own(docker, "sandbox.Dockerfile", f"portico-sandbox:{TAG}")
    docker.run("image", "prune", "-f")
    docker.run("builder", "prune", "-f", "--keep-storage", KEPT_LAYERS)


def build_own(docker: Docker, file: str, tag: str, *options: str) -> None:
    secret = ("--secret", f"id=ca,src={CERTIFICATES}") if CERTIFICATES.exists() else ()
    dockerfile = CHECKOUT / "infra" / "docker" / file
    docker.run(
        "build", "-q", *secret, "-f", str(dockerfile), "-t", tag, *options, str(CHECKOUT), timeout=2400
    )


def image_names() -> dict[str, str]:
    """Service → image, with the versions that compose.yaml names."""
    text = (CHECKOUT / "compose.yaml").read_text()
    found = re.findall(r"^  ([\w-]+):\n(?:    .*\n)*?    image: (\S+)$", text, re.MULTILINE)
    return {service: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", image) for service, image in found}


def _others(docker: Docker) -> None:
    names = image_names()
    provide_image(docker, "postgres.Dockerfile", names["postgres"], {})
    temporal = {name: program(name) for name in ("temporal-server", "temporal-sql-tool")}
    for tag in (names["temporal"], names["temporal-schema"]):
        provide_image(docker, "program.Dockerfile", tag, temporal)
    provide_image(docker, "program.Dockerfile", names["s3"], {"versitygw": VERSITYGW.path})
    for name, path in (("opa", OPA.path), ("caddy", program("caddy"))):
        provide_image(docker, "program.Dockerfile", f"portico-test-{name}", {name: path})
        provide_image(docker, f"{name}.Dockerfile", names[name], {})
    ui = module_folder("ui", "github.com/temporalio/ui-server/v2")
    shipped = {path.name: path for path in (ui / "config/docker.yaml", ui / "docker/start-ui-server.sh")}
    provide_image(
        docker, "program.Dockerfile", "portico-test-ui-server", {"ui-server": program("ui-server"), **shipped}
    )
    provide_image(docker, "ui.Dockerfile", names["temporal-ui"], {})


def _base(docker: Docker) -> None:
    """Imported once: the same archive imported again would be another image, and every layer be built again."""
    if docker.run("image", "ls", "-q", BASE):
        return
    archive = cache_directory() / "deploy" / "bookworm.tar"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        _bootstrap(archive)
    docker.run("import", "--change", 'CMD ["bash"]', str(archive), BASE)


def _bootstrap(archive: Path) -> None:
    sources = "".join(path.read_text() for path in Path("/etc/apt").rglob("*.sources"))
    sources += "".join(path.read_text() for path in Path("/etc/apt").glob("sources.list"))
    mirror = re.search(r"(?:^URIs: |^deb )(\S+)", sources, re.MULTILINE)
    assert mirror, "no package mirror is configured"
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        root = Path(folder) / "root"
        command = ("debootstrap", "--variant=minbase", "bookworm", root, mirror[1])
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for cached in (*root.glob("var/cache/apt/archives/*.deb"), *root.glob("var/lib/apt/lists/*_*")):
            cached.unlink()
        making = archive.with_suffix(".making")
        subprocess.run(("tar", "-C", root, "--numeric-owner", "-cf", making, "."), check=True)
        making.rename(archive)


def provide_image(docker: Docker, file: str, tag: str, programs: dict[str, Path]) -> None:
    """An image of somebody else's programs, from a file below `images/`."""
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        (context / "programs").mkdir()
        for name, path in programs.items():
            shutil.copy(path, context / "programs" / name)
            (context / "programs" / name).chmod(0o755)
        for script in IMAGES.glob("*.sh"):
            shutil.copy(script, context)
        docker.run("build", "-q", "-f", str(IMAGES / file), "-t", tag, str(context))
