"""Starts Triton in its container: the models into the volume, the closed doors, then the server in our place.

The same flags as the embedded stack's, but for the address: the network has nobody but edge and worker.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path("/opt/portico")
HOME = Path("/var/lib/portico")
KEY = Path("/run/secrets/triton_admin_key")
RESTRICTED = "model-repository,shared-memory,trace,logging"
LOADED = ("understand", "text_encoder")


def main() -> None:
    python = ROOT / "env" / "bin" / "python"
    build = (python, "-m", "triton_models.build", "--home", HOME, "--cache", ROOT / "built")
    subprocess.run(build, cwd=ROOT, check=True)
    language = HOME / "language-models"
    language.mkdir(exist_ok=True)
    server, backends, environment = _server(python)
    key = KEY.read_text().strip()
    command = (
        str(server),
        f"--model-repository={HOME / 'models'}",
        f"--model-repository={language}",
        *backends,
        "--model-control-mode=explicit",
        *(f"--load-model={name}" for name in LOADED),
        "--allow-http=false",
        "--allow-grpc=true",
        "--grpc-address=0.0.0.0",
        "--grpc-port=8001",
        f"--grpc-restricted-protocol={RESTRICTED}:portico-admin={key}",
        "--allow-metrics=true",
        "--metrics-address=0.0.0.0",
        "--metrics-port=8002",
        "--strict-readiness=true",
        "--exit-timeout-secs=5",
        "--log-info=false",
    )
    os.execve(server, command, environment)


def _server(python: Path) -> tuple[Path, tuple[str, ...], dict[str, str]]:
    """The program, its flags for back ends, and its environment: the wheel's, or NVIDIA's image."""
    known = {
        name: os.environ[name]
        for name in ("HOME", "PATH", "PYTHONDONTWRITEBYTECODE", "ORT_DISABLE_TELEMETRY")
    }
    few = {
        "MALLOC_ARENA_MAX": "2",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    packages = next((ROOT / "env" / "lib").glob("python3*/site-packages"))
    if os.environ.get("PORTICO_TRITON_SERVER") == "official":
        path = {"PYTHONPATH": str(packages), "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", "")}
        return Path("/opt/tritonserver/bin/tritonserver"), (), {**known, **few, **path}
    libraries = f"{packages / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR') or '/usr/lib'}"
    server = packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    return (
        server,
        (f"--backend-directory={ROOT / 'backends'}",),
        {**known, **few, "LD_LIBRARY_PATH": libraries},
    )


if __name__ == "__main__":
    sys.exit(main())
