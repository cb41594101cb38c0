"""How Triton is started for Portico, embedded and in an image: its flags, its restricted endpoints, its variables.

What changes Triton (models, shared memory, trace, logging) asks for a key, and there is no HTTP. Only the standard
library: images start it before anything else is there.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ADMIN_HEADER = "portico-admin"
RESTRICTED = "model-repository,shared-memory,trace,logging"
LOADED = ("understand", "text_encoder")
VARIABLES = {
    "PYTHONDONTWRITEBYTECODE": "1",
    "MALLOC_ARENA_MAX": "2",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Few threads and arenas, because two small models need no more."""


@dataclass(frozen=True)
class Listen:
    """Where it listens."""

    address: str
    grpc_port: int
    metrics_port: int


def flags(
    repositories: Sequence[Path], listen: Listen, *, key: str, backends: Path | None = None, gpu: bool = False
) -> tuple[str, ...]:
    """Everything behind the program's name. Without `backends` the server's own folder is used."""
    return (
        *(f"--model-repository={folder}" for folder in repositories),
        *((f"--backend-directory={backends}",) if backends else ()),
        "--model-control-mode=explicit",
        *(f"--load-model={name}" for name in LOADED),
        "--allow-http=false",
        "--allow-grpc=true",
        f"--grpc-address={listen.address}",
        f"--grpc-port={listen.grpc_port}",
        f"--grpc-restricted-protocol={RESTRICTED}:{ADMIN_HEADER}={key}",
        "--allow-metrics=true",
        f"--metrics-address={listen.address}",
        f"--metrics-port={listen.metrics_port}",
        f"--allow-gpu-metrics={'true' if gpu else 'false'}",
        "--allow-cpu-metrics=false",
        "--strict-readiness=true",
        "--exit-timeout-secs=5",
        "--log-info=false",
    )


def of_the_wheel(packages: Path) -> Path:
    """The server's folder in the wheel that brings it."""
    return packages / "pytriton" / "tritonserver"


def libraries(packages: Path, libpython: Path) -> str:
    """`LD_LIBRARY_PATH` for the wheel's server, whose stub is linked to libpython."""
    return f"{packages / 'nvidia_pytriton.libs'}:{libpython}"


def python_stub(server: Path, version: str) -> Path:
    """What runs Python models of that version, `3.11`."""
    return server / "python_backend_stubs" / version / "triton_python_backend_stub"


def copy_python_backend(server: Path, version: str, folder: Path) -> None:
    """The wheel's Python backend with this version's stub beside it. The wheel does not say what is a program."""
    shutil.copytree(server / "backends" / "python", folder / "python")
    shutil.copy(python_stub(server, version), folder / "python")
    for file in (folder / "python").iterdir():
        file.chmod(0o755)
