"""What the machine must have before anything is installed, and the command that installs what is missing."""

from __future__ import annotations

import os
import platform
import re
import shutil
from pathlib import Path

from operations.setup.binaries import CHECKOUT, cache_directory
from operations.setup.shell import SetupFailed, run, say

GIB = 1024**3
GLIBC = (2, 35)
MEMORY_BYTES = 2 * GIB
DISK_BYTES = 5 * GIB  # 1.4 for the environments, 2 for the build cache that is deleted afterwards, and room
RUNNING_BYTES = GIB
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
BROWSERS = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
PYTHON_PACKAGES = {
    "bookworm": ("python3.11-venv", "libpython3.11"),
    "jammy": ("python3.11-venv", "libpython3.11"),
    "noble": ("python3.12-venv", "libpython3.12"),
}


def check_machine() -> None:
    """Raises `SetupFailed` naming the first thing that is missing."""
    disk_problems = [_disk(CHECKOUT, DISK_BYTES), _disk(cache_directory(), DISK_BYTES)]
    for problem in [*machine_problems(), *disk_problems]:
        if problem:
            raise SetupFailed(f"{problem}; or use compose (README)")


def machine_problems() -> list[str]:
    """What this machine lacks for running Portico, whether it is set up or not."""
    return [problem for problem in (_architecture(), _glibc(), _memory()) if problem]


def disk_problem(path: Path) -> str:
    """Whether the disk of a home is almost full."""
    return _disk(path, RUNNING_BYTES)


def _architecture() -> str:
    machine = platform.machine()
    return (
        "" if machine in ("x86_64", "AMD64") else f"this machine is {machine}; the model server needs x86-64"
    )


def _glibc() -> str:
    found = re.search(r"(\d+)\.(\d+)", os.confstr("CS_GNU_LIBC_VERSION") or "") if _has_glibc() else None
    if found and (int(found[1]), int(found[2])) >= GLIBC:
        return ""
    have = f"glibc {found[0]}" if found else "no glibc"
    return f"{have}; the model server needs 2.35 or newer (Debian 12, Ubuntu 22.04)"


def _has_glibc() -> bool:
    return "CS_GNU_LIBC_VERSION" in os.confstr_names


def _memory() -> str:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return (
        ""
        if total >= MEMORY_BYTES
        else f"{total / GIB:.1f} GiB of memory; {MEMORY_BYTES // GIB} GiB are needed"
    )


def _disk(path: Path, needed: int) -> str:
    while not path.exists():
        path = path.parent
    free = shutil.disk_usage(path).free
    return "" if free >= needed else f"{free / GIB:.1f} GiB free at {path}; {needed // GIB} GiB are needed"


def python_packages() -> tuple[str, ...]:
    """The distribution's packages of a Python that fits, or nothing where it has none."""
    return PYTHON_PACKAGES.get(_codename(), ())


def missing_packages() -> tuple[str, ...]:
    return () if CERTIFICATES.exists() else ("ca-certificates",)


def apt_install(packages: tuple[str, ...]) -> bool:
    """Install distribution packages as root. False where this is not root, or not Debian."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    say(f"apt-get install {' '.join(packages)}")
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    run(("apt-get", "update", "-qq"), env=environment)
    run(("apt-get", "install", "-y", "-qq", *packages), env=environment)
    return True


def provide_browser() -> None:
    """Chromium for the tests of the pages: installed for root, named for others."""
    if any(Path(path).exists() for path in BROWSERS):
        return
    try:
        installed = apt_install(("chromium",))
    except SetupFailed as error:
        say(f"Chromium could not be installed: {error}")
        return
    if not installed:
        say("Chromium is missing, so the tests of the pages cannot run: sudo apt install chromium")


def _codename() -> str:
    try:
        found = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    except FileNotFoundError:
        return ""
    return found[1] if found else ""
