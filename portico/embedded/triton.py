"""Triton out of the models' environment: its files, its command line, its closed doors.

Version 2.51 has known remote flaws, so it listens on loopback only, without HTTP, and what changes it
(models, shared memory, trace, logging) asks for a key.
"""

from __future__ import annotations

import ctypes
import shutil
import sys
import sysconfig
from pathlib import Path

from portico.embedded.binaries import cache_directory
from portico.embedded.context import MODELS_ENVIRONMENT, Context, models_packages
from portico.errors import Misconfigured

ADMIN_HEADER = "portico-admin"
RESTRICTED = "model-repository,shared-memory,trace,logging"
LOADED = ("understand", "text_encoder")
MULTIARCH = Path("/usr/lib/x86_64-linux-gnu")


def libpython_directory() -> Path | None:
    """Where `libpythonX.Y.so.1.0` of this interpreter lies; Triton's stub is linked to it."""
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    configured = sysconfig.get_config_var("LIBDIR") or "/usr/lib"
    for directory in (Path(sys.base_prefix, "lib"), Path(configured), MULTIARCH, Path("/usr/lib64")):
        if (directory / name).exists():
            return directory
    try:
        ctypes.CDLL(name)
    except OSError:
        return None
    return Path("/usr/lib")


def command(context: Context) -> tuple[str, ...]:
    server = models_packages() / "pytriton" / "tritonserver"
    restricted = f"{RESTRICTED}:{ADMIN_HEADER}={context.credentials['triton_admin_key']}"
    return (
        str(_executable(server / "bin" / "tritonserver")),
        f"--model-repository={context.home.models}",
        f"--model-repository={context.home.language_models}",
        f"--backend-directory={_backends(server)}",
        "--model-control-mode=explicit",
        *(f"--load-model={name}" for name in LOADED),
        "--allow-http=false",
        "--allow-grpc=true",
        "--grpc-address=127.0.0.1",
        f"--grpc-port={context.port('triton')}",
        f"--grpc-restricted-protocol={restricted}",
        "--allow-metrics=true",
        "--metrics-address=127.0.0.1",
        f"--metrics-port={context.port('triton-metrics')}",
        "--allow-gpu-metrics=false",
        "--allow-cpu-metrics=false",
        "--strict-readiness=true",
        "--exit-timeout-secs=5",
        "--log-info=false",
    )


def environment(context: Context) -> dict[str, str]:
    """None of Portico's variables; few threads and arenas, because two small models need no more.

    The stub's interpreter ignores `PYTHONPATH` and takes the environment of the first `python3` in `PATH`.
    """
    libpython = libpython_directory()
    if libpython is None:
        raise Misconfigured("libpython is missing; `portico doctor` names the package")
    packages = models_packages()
    return context.plain_environment() | {
        "LD_LIBRARY_PATH": f"{packages / 'nvidia_pytriton.libs'}:{libpython}",
        "PATH": f"{MODELS_ENVIRONMENT / 'bin'}:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MALLOC_ARENA_MAX": "2",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def build_models(context: Context) -> tuple[str, ...]:
    python = MODELS_ENVIRONMENT / "bin" / "python"
    return (str(python), "-m", "triton_models.build", "--home", str(context.home.root))


def _backends(server: Path) -> Path:
    """The Python backend with this interpreter's stub beside it, copied once into the cache."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    library = server / "backends" / "python" / "libtriton_python.so"
    key = f"{version}-{library.stat().st_size}-{stub.stat().st_size}"
    ready = cache_directory() / "triton" / key
    if not ready.exists():
        making = ready.with_name(f".{key}.making")
        shutil.rmtree(making, ignore_errors=True)
        shutil.copytree(library.parent, making / "python")
        shutil.copy(stub, making / "python")
        for file in (making / "python").iterdir():
            file.chmod(0o755)
        making.rename(ready)
    return ready


def _executable(path: Path) -> Path:
    if not path.exists():
        raise Misconfigured(f"{path} is missing; run `make setup`")
    path.chmod(0o755)  # the wheel does not say that it is a program
    return path
