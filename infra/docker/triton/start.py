"""Starts Triton in its container: the models into the volume, restricted endpoints, then the server in our place.

`PORTICO_TRITON_SERVER` says whose server: `wheel`, or `official` in NVIDIA's image. The network has nobody but edge
and worker, so it listens on all addresses. `start.py HOME` makes the models of that home and starts nothing, for who
wants to know what Triton serves.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from triton_models import server as triton

ROOT = Path("/opt/portico")
HOME = Path("/var/lib/portico")
KEY = Path("/run/secrets/triton_admin_key")
OFFICIAL = Path("/opt/tritonserver/bin/tritonserver")
LISTEN = triton.Listen("0.0.0.0", 8001, 8002)
KEPT = ("HOME", "PATH", "ORT_DISABLE_TELEMETRY")
OF_NVIDIA = ("CUDA_", "NVIDIA_")


def main() -> None:
    if sys.argv[1:]:
        build(Path(sys.argv[1]))
        return
    build(HOME)
    language = HOME / "language-models"
    language.mkdir(exist_ok=True)
    official = os.environ.get("PORTICO_TRITON_SERVER") == "official"
    server, backends = (OFFICIAL, None) if official else _of_the_wheel()
    key = KEY.read_text().strip()
    flags = triton.flags((HOME / "models", language), LISTEN, key=key, backends=backends, gpu=official)
    os.execve(server, (str(server), *flags), _variables(official=official))


def build(home: Path) -> None:
    """What the image brings, by links; a head for intents of one's own is made beside, where it can be written."""
    cache = home / "cache"
    cache.mkdir(exist_ok=True)
    for link in [path for path in cache.iterdir() if path.is_symlink()]:
        link.unlink()  # of an image before this one
    for shipped in (ROOT / "built").iterdir():
        if not (cache / shipped.name).exists():
            (cache / shipped.name).symlink_to(shipped)
    python = ROOT / "env" / "bin" / "python"
    command = (python, "-m", "triton_models.build", "--home", home, "--cache", cache)
    subprocess.run(command, cwd=ROOT, check=True)


def _of_the_wheel() -> tuple[Path, Path]:
    return triton.of_the_wheel(_packages()) / "bin" / "tritonserver", ROOT / "backends"


def _variables(*, official: bool) -> dict[str, str]:
    """Few of the container's own, and where libraries lie: NVIDIA's image says that itself, but for ONNX Runtime's."""
    known = {**{name: os.environ[name] for name in KEPT}, **triton.VARIABLES}
    if not official:
        libpython = Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")
        return {**known, "LD_LIBRARY_PATH": triton.libraries(_packages(), libpython)}
    given = {name: value for name, value in os.environ.items() if name.startswith(OF_NVIDIA)}
    own = sorted(str(folder) for folder in _packages().glob("nvidia/*/lib"))
    path = ":".join(filter(None, (os.environ.get("LD_LIBRARY_PATH"), *own)))
    return {**known, **given, "LD_LIBRARY_PATH": path}


def _packages() -> Path:
    return next((ROOT / "env" / "lib").glob("python3*/site-packages"))


if __name__ == "__main__":
    main()
