"""Environments of functions that ask for packages: made in the background by uv, once for each list of packages.

Each is below the cache directory, named by a digest of its list, its lock and the Python it is for, and is shared by
all that ask for the same. A lock beside the file (`NAME.lock`) is installed by its hashes, and nothing else is.
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from portico.logs import logger

BUILD_S = 900.0
RETRY_S = 600.0
LINE_SHOWN = 200
BUILDING = "its packages are being installed"
KERNEL = ("pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection")
"""What `portico.tool` needs; an environment without them takes Portico's own."""

log = logger("tools")


@dataclass(frozen=True)
class Installer:
    """How packages are installed: where uv is, and its variables. `missing` says why there is none."""

    uv: Path | None
    environment: Mapping[str, str]
    missing: str = "uv is not there; `make setup` installs it"


@dataclass
class _Build:
    """What became of one environment so far."""

    unavailable: str = BUILDING
    failed_at: float | None = None


class Environments:
    """Asked again and again; begins what is missing and says how far it is."""

    def __init__(self, root: Path, installer: Callable[[], Installer], *, ready: Callable[[], None]) -> None:
        self._root = root
        self._installer = installer
        self._ready = ready
        self._builds: dict[str, _Build] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def python(self, key: str, dependencies: Sequence[str], lock: bytes | None) -> Path | None:
        """The interpreter of that environment; nothing where it is not there yet."""
        made = self._path(key) / "bin" / "python"
        if made.exists():
            self._builds.pop(key, None)
            return made
        build = self._builds.get(key)
        now = asyncio.get_running_loop().time()
        if build is None or (build.failed_at is not None and now - build.failed_at > RETRY_S):
            self._builds[key] = _Build()
            task = asyncio.create_task(self._build(key, tuple(dependencies), lock))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return None

    def unavailable(self, key: str) -> str:
        """Why it is not there, in one line."""
        build = self._builds.get(key)
        return build.unavailable if build else BUILDING

    def paths(self) -> tuple[str, ...]:
        """Links to the few packages that every environment needs besides its own."""
        kernel = self._root / f"kernel-{_tag()}"
        kernel.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name in KERNEL:
            _link(kernel, name)
        return (str(kernel),)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _path(self, key: str) -> Path:
        return self._root / f"{key}-{_tag()}"

    async def _build(self, key: str, dependencies: tuple[str, ...], lock: bytes | None) -> None:
        build = self._builds[key]
        log.info(
            "tools.environment_begun", environment=key, packages=len(dependencies), locked=lock is not None
        )
        try:
            problem = await self._build_alone(key, dependencies, lock)
        except (OSError, TimeoutError) as error:
            problem = str(error) or "it takes too long"
        if problem:
            build.unavailable = f"its packages could not be installed: {problem[:LINE_SHOWN]}"
            build.failed_at = asyncio.get_running_loop().time()
            log.warning("tools.environment_failed", environment=key, problem=problem[:LINE_SHOWN])
        else:
            log.info("tools.environment_ready", environment=key)
        self._ready()

    async def _build_alone(self, key: str, dependencies: tuple[str, ...], lock: bytes | None) -> str:
        """Under a lock that other processes hold, too, while they make the same. What is wrong, or nothing."""
        installer = self._installer()
        if installer.uv is None:
            return installer.missing
        self._root.mkdir(mode=0o755, parents=True, exist_ok=True)
        with (self._root / f"{key}.making").open("w") as held:
            async with asyncio.timeout(BUILD_S):
                await _take(held.fileno())
                if (self._path(key) / "bin" / "python").exists():
                    return ""
                return await self._install(installer, key, dependencies, lock)

    async def _install(
        self, installer: Installer, key: str, dependencies: tuple[str, ...], lock: bytes | None
    ) -> str:
        making = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=self._root))
        try:
            wanted = making / "requirements.txt"
            wanted.write_bytes(lock if lock is not None else "\n".join(dependencies).encode())
            place = making / "environment"
            made = await _run(installer, "venv", "--python", sys.executable, "--relocatable", str(place))
            hashes = ("--require-hashes",) if lock is not None else ()
            into = ("--python", str(place / "bin" / "python"), "--compile-bytecode")
            problem = made or await _run(installer, "pip", "install", *hashes, *into, "-r", str(wanted))
            if not problem:
                place.rename(self._path(key))
            return problem
        finally:
            await asyncio.to_thread(shutil.rmtree, making, ignore_errors=True)


async def _take(descriptor: int) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            await asyncio.sleep(0.5)


async def _run(installer: Installer, *arguments: str) -> str:
    """The last line that uv said where it fails; nothing where it works."""
    process = await asyncio.create_subprocess_exec(
        str(installer.uv),
        *arguments,
        "--quiet",
        env=dict(installer.environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, said = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode == 0:
        return ""
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else f"uv ended with {process.returncode}"


def _link(kernel: Path, name: str) -> None:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        return
    origin = Path(found.origin)
    target = origin.parent if origin.name == "__init__.py" else origin
    link = kernel / target.name
    if link.is_symlink() and link.resolve() == target.resolve():
        return
    fresh = kernel / f".{target.name}.{os.getpid()}"
    fresh.symlink_to(target)
    fresh.replace(link)


def _tag() -> str:
    return f"py{sys.version_info.major}{sys.version_info.minor}"
