"""Prometheus and its tool from the distribution's package, unpacked into the user's cache and not installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from operations.setup.binaries import cache_directory


def prometheus_program(name: str) -> Path | None:
    """`prometheus` or `promtool`; none where there is neither the program nor apt."""
    if found := shutil.which(name):
        return Path(found)
    kept = cache_directory() / "deploy" / "prometheus"
    if not (kept / name).exists() and not _fetch(kept):
        return None
    return kept / name


def _fetch(kept: Path) -> bool:
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        return False
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
        work = Path(folder)
        if not _download(work):
            return False
        package = next(work.glob("prometheus_*.deb"))
        subprocess.run(("dpkg", "-x", package, work / "x"), check=True)
        making = work / "making"
        making.mkdir()
        for name in ("prometheus", "promtool"):
            shutil.copy(work / "x" / "usr" / "bin" / name, making)
        if not kept.exists():  # another run may have been quicker
            making.rename(kept)
    return True


def _download(work: Path) -> bool:
    """With lists of packages of its own, so that nobody has to be root."""
    lists, archives = work / "lists", work / "archives"
    for place in (lists / "partial", archives / "partial"):
        place.mkdir(parents=True)
    own = (
        f"Dir::State::lists={lists}",
        f"Dir::Cache={archives}",
        "APT::Sandbox::User=root",
        "Debug::NoLocking=1",
    )
    options = [part for option in own for part in ("-o", option)]
    for command in (("update", "-qq"), ("download", "-qq", "prometheus")):
        done = subprocess.run(("apt-get", *options, *command), cwd=work, capture_output=True, check=False)
        if done.returncode:
            return False
    return True
