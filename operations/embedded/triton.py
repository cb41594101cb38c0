"""Triton out of the models' environment: its files and its command line.

Version 2.51 has known remote flaws: it listens on loopback only, and `triton_models.server` closes the rest.
"""

from __future__ import annotations

import ctypes
import shutil
import sys
import sysconfig
from pathlib import Path

from operations.embedded.context import MODELS_ENVIRONMENT, StackContext, models_packages
from operations.setup.binaries import cache_directory
from portico.errors import Misconfigured
from triton_models import server as triton

MULTIARCH = Path("/usr/lib/x86_64-linux-gnu")


def libpython_directory() -> Path | None:
    """Folder of this interpreter's `libpythonX.Y.so.1.0`; Triton's stub is linked to it."""
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


def command(context: StackContext) -> tuple[str, ...]:
    server = triton.of_the_wheel(models_packages())
    flags = triton.flags(
        (context.home.models, context.home.language_models),
        triton.Listen("127.0.0.1", context.port("triton"), context.port("triton-metrics")),
        key=context.credentials["triton_admin_key"],
        backends=_backends(server),
    )
    return (str(_executable(server / "bin" / "tritonserver")), *flags)


def environment(context: StackContext) -> dict[str, str]:
    """None of Portico's variables.

    The stub's interpreter ignores `PYTHONPATH` and takes the environment of the first `python3` in `PATH`.
    """
    libpython = libpython_directory()
    if libpython is None:
        raise Misconfigured("libpython is missing; `portico doctor` names the package")
    return {
        **context.plain_environment(),
        **triton.VARIABLES,
        "LD_LIBRARY_PATH": triton.libraries(models_packages(), libpython),
        "PATH": f"{MODELS_ENVIRONMENT / 'bin'}:/usr/bin:/bin",
    }


def build_models(context: StackContext) -> tuple[str, ...]:
    python = MODELS_ENVIRONMENT / "bin" / "python"
    return (str(python), "-m", "triton_models.build", "--home", str(context.home.root))


def _backends(server: Path) -> Path:
    """The Python backend with this interpreter's stub, copied once into the cache."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = triton.python_stub(server, version)
    library = server / "backends" / "python" / "libtriton_python.so"
    key = f"{version}-{library.stat().st_size}-{stub.stat().st_size}"
    ready = cache_directory() / "triton" / key
    if not ready.exists():
        making = ready.with_name(f".{key}.making")
        shutil.rmtree(making, ignore_errors=True)
        triton.copy_python_backend(server, version, making)
        making.rename(ready)
    return ready


def _executable(path: Path) -> Path:
    if not path.exists():
        raise Misconfigured(f"{path} is missing; run `make setup`")
    path.chmod(0o755)  # the wheel does not say that it is a program
    return path
