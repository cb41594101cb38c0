"""Build the read-only system of the sandboxes: a bare root, and a Python environment from the lock next to this file.

System programs and libraries are the machine's own, mounted read-only: `/usr/bin`, `/usr/lib` and the like, and
nothing of `/etc`, `/root`, `/home`, `/var` or `/usr/local`.
"""

from __future__ import annotations

import compileall
import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

LOCK = Path(__file__).with_name("requirements.lock")
PROVIDED = (
    "usr/bin",
    "usr/sbin",
    "usr/lib",
    "usr/lib64",
    "usr/share/zoneinfo",
    "usr/share/terminfo",
    "usr/share/fonts",
)
UNUSED_S = 30 * 24 * 3600
TOP = ("bin", "sbin", "lib", "lib64")
EMPTY = (
    "proc",
    "dev",
    "sys",
    "tmp",
    "home/user",
    "etc",
    "opt/agent/sandbox/guest",
    "opt/python/bin",
    "opt/python/lib",
)
FILES = {
    "etc/passwd": "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\nuser:x:1000:1000:user:/home/user:/bin/bash\n",
    "etc/group": "root:x:0:\nuser:x:1000:\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.0.1 sandbox\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")  # for sandboxes with a way out
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


class ImageFailed(Exception):
    """The image could not be built; the text says why."""


@dataclass(frozen=True)
class Image:
    """A root folder, what of the machine is mounted into it, and variables that its Python needs."""

    root: Path
    mounts: dict[str, Path]
    environment: dict[str, str]


def digest() -> str:
    parts = [LOCK.read_bytes(), Path(__file__).read_bytes(), sys.version.encode(), sys.base_prefix.encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def provide(directory: Path) -> Image:
    """The image below `directory`, built if it is not there. Takes seconds to a minute."""
    root = directory / f"image-{digest()}"
    if not root.exists():
        directory.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="building-", dir=directory))
        try:
            work.chmod(0o755)
            _fill(work)
            os.rename(work, root)
        except OSError:
            if not root.exists():  # another service built it at the same time
                raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    with contextlib.suppress(OSError):  # of another user, who built it for all, or on a read-only root
        os.utime(root)
    _remove_old(directory)
    return Image(root, _mounts(), _environment())


def _remove_old(directory: Path) -> None:
    """Images that no service used for a month."""
    for folder in directory.glob("image-*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > UNUSED_S:
                shutil.rmtree(folder)


def _fill(root: Path) -> None:
    for folder in (*EMPTY, *PROVIDED):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, text in FILES.items():
        (root / name).write_text(text)
    if CERTIFICATES.exists():
        (root / "etc/ssl/certs").mkdir(parents=True)
        shutil.copyfile(CERTIFICATES, root / "etc/ssl/certs/ca-certificates.crt")
    for name in TOP:
        host = Path("/") / name
        if host.is_symlink():
            (root / name).symlink_to(os.readlink(host))
        elif host.is_dir():
            (root / name).mkdir()
    _environment_of_its_own(root / "opt" / "env")


def _environment_of_its_own(folder: Path) -> None:
    packages = folder / "lib" / PYTHON / "site-packages"
    packages.mkdir(parents=True)
    (folder / "bin").mkdir()
    inside = "/usr/bin" if sys.base_prefix == "/usr" else "/opt/python/bin"
    for name in ("python", "python3", PYTHON):
        (folder / "bin" / name).symlink_to(f"{inside}/{PYTHON}")
    (folder / "pyvenv.cfg").write_text(f"home = {inside}\ninclude-system-site-packages = false\n")
    (packages / "agent.pth").write_text(
        "/opt/agent\n"
    )  # kernels are started as files and import their neighbors
    (folder / "bin" / "deno").symlink_to(f"../lib/{PYTHON}/site-packages/bin/deno")
    _run(
        [
            *_installer(),
            "--target",
            str(packages),
            "--require-hashes",
            "--only-binary",
            ":all:",
            "-r",
            str(LOCK),
        ]
    )
    compileall.compile_dir(
        packages,
        quiet=2,
        stripdir=str(folder),
        prependdir="/opt/env",
        invalidation_mode=_UNCHECKED,
        workers=1,
    )
    fonts = folder / "share" / "matplotlib"
    fonts.mkdir(parents=True)
    _run(
        [sys.executable, "-S", "-c", "import matplotlib.font_manager"],
        {"PYTHONPATH": str(packages), "MPLCONFIGDIR": str(fonts), "HOME": str(fonts)},
    )


_UNCHECKED = __import__("py_compile").PycInvalidationMode.UNCHECKED_HASH


def _installer() -> list[str]:
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--quiet", "--link-mode", "copy", "--python", sys.executable]
    if importlib.util.find_spec("pip") is None:
        raise ImageFailed("neither uv is in PATH nor has this Python pip: install one of them")
    return [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, check=False
    )
    if done.returncode != 0:
        raise ImageFailed(f"{Path(command[0]).name} failed: {done.stdout.strip()[-1500:]}")


def _mounts() -> dict[str, Path]:
    mounts = {f"/{name}": Path("/") / name for name in PROVIDED if (Path("/") / name).is_dir()}
    mounts |= {
        f"/{name}": Path("/") / name
        for name in TOP
        if not Path("/", name).is_symlink() and Path("/", name).is_dir()
    }
    if sys.base_prefix != "/usr":
        mounts |= {f"/opt/python/{part}": Path(sys.base_prefix) / part for part in ("bin", "lib")}
    return mounts


def _environment() -> dict[str, str]:
    return {"LD_LIBRARY_PATH": "/opt/python/lib"} if sysconfig.get_config_var("Py_ENABLE_SHARED") else {}
