"""How one sandbox is set apart: a gVisor kernel of its own, and the bundle that says what it may see and use.

There is no weaker way to run: what cannot be set up is an error with its reason and what to do about it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.image.build import Image
from sandbox.settings import SandboxLimits

GUEST_UID = 1000
CGROUPS = Path("/sys/fs/cgroup")
AGENT = ["/opt/env/bin/python", "-m", "sandbox.guest.agent"]
GUEST_CODE = Path(__file__).parent / "guest"
OVERHEAD = 256 * 1024 * 1024  # gVisor's own, on top of what the guest may use
ENVIRONMENT = {
    "PATH": "/opt/env/bin:/usr/local/bin:/usr/bin:/bin",
    "HOME": "/home/user",
    "USER": "user",
    "LANG": "C.UTF-8",
    "SHELL": "/bin/bash",
    "TZ": "UTC",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "PYTHONDONTWRITEBYTECODE": "1",
    "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
    "E2B_SANDBOX": "true",
}


class IsolationUnavailable(Exception):
    """Sandboxes cannot be set apart on this machine. The text says why and what to do."""


@dataclass(frozen=True)
class Isolation:
    """The program, where it keeps its state, and what this machine lets us do."""

    runsc: Path
    state: Path
    image: Image
    cgroups: bool

    def command(self, *arguments: str) -> list[str]:
        # a mount namespace of its own for each call: nothing that runsc mounts is seen, or left, outside
        enter = (
            ["unshare", "--mount"]
            if os.geteuid() == 0
            else ["unshare", "--user", "--map-root-user", "--mount"]
        )
        flags = [f"--root={self.state / 'runsc'}", "--network=none", "--host-uds=none", "--overlay2=none"]
        flags += ["--platform=systrap", "--file-access-mounts=exclusive"]
        if not self.cgroups:
            flags.append("--ignore-cgroups")
        return [*enter, str(self.runsc), *flags, *arguments]

    def write_bundle(self, name: str, limits: SandboxLimits, arguments: list[str]) -> Path:
        bundle = self.state / "bundles" / name
        bundle.mkdir(parents=True)
        specification = self._specification(name, limits, arguments)
        (bundle / "config.json").write_text(json.dumps(specification))
        return bundle

    def _specification(self, name: str, limits: SandboxLimits, arguments: list[str]) -> dict[str, Any]:
        return {
            "ociVersion": "1.2.0",
            "hostname": "sandbox",
            "root": {"path": str(self.image.root), "readonly": True},
            "process": {
                "user": {"uid": GUEST_UID, "gid": GUEST_UID},
                "args": arguments,
                "env": [f"{name}={value}" for name, value in (ENVIRONMENT | self.image.environment).items()],
                "cwd": "/opt/agent",
                "capabilities": {kind: [] for kind in ("bounding", "effective", "inheritable", "permitted")},
                "noNewPrivileges": True,
                "rlimits": [
                    _rlimit("RLIMIT_NOFILE", limits.open_files),
                    _rlimit("RLIMIT_NPROC", limits.processes),
                    _rlimit("RLIMIT_CORE", 0),
                ],
            },
            "mounts": [*self._read_only(), *_writable(limits)],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")],
                **(
                    {"cgroupsPath": f"/portico-sandbox-{name}", "resources": _resources(limits)}
                    if self.cgroups
                    else {}
                ),
            },
        }

    def _read_only(self) -> list[dict[str, Any]]:
        mounts = {**self.image.mounts, "/opt/agent/sandbox/guest": GUEST_CODE}
        options = ["bind", "ro", "nosuid", "nodev"]
        return [
            {"destination": inside, "type": "bind", "source": str(outside), "options": options}
            for inside, outside in mounts.items()
        ]

    async def check(self, limits: SandboxLimits) -> None:
        """Run one program in a sandbox and expect its words. IsolationUnavailable if that fails."""
        name = f"check-{os.getpid()}"
        bundle = self.write_bundle(name, limits, ["/bin/sh", "-c", "echo set apart: $(id -u)"])
        try:
            process = await asyncio.create_subprocess_exec(
                *self.command("run", f"--bundle={bundle}", name),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            said, complaint = await asyncio.wait_for(process.communicate(), 20)
        except (OSError, TimeoutError) as error:
            raise IsolationUnavailable(
                _advice(str(error) or "the trial sandbox did not answer in 20 s")
            ) from error
        finally:
            shutil.rmtree(bundle, ignore_errors=True)
        if said.decode(errors="replace").strip() != f"set apart: {GUEST_UID}":
            raise IsolationUnavailable(_advice(complaint.decode(errors="replace").strip()[-800:]))

    async def picture(self, name: str, folder: Path) -> str:
        """Write all of a sandbox that stands still into the folder. What went wrong, or nothing."""
        process = await asyncio.create_subprocess_exec(
            *self.command(
                "checkpoint", f"--image-path={folder}", "--leave-running", "--compression=none", name
            ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, complaint = await process.communicate()
        return complaint.decode(errors="replace").strip()[-500:] or "it ended" if process.returncode else ""

    async def destroy(self, name: str) -> None:
        """Whatever is left of a sandbox: processes, mounts, cgroup, bundle."""
        with contextlib.suppress(OSError, TimeoutError):
            process = await asyncio.create_subprocess_exec(
                *self.command("delete", "--force", name),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            await asyncio.wait_for(process.wait(), 20)
        for left in (self.state / "runsc").iterdir():
            if left.name.startswith((f"{name}_", f"runsc-{name}.", f"{name}.")):
                left.unlink(missing_ok=True)
        for _ in range(200 if self.cgroups else 0):  # who was killed while starting is not known to runsc
            if _without_cgroups(name):
                break
            await asyncio.sleep(0.05)
        if not self.cgroups or _without_cgroups(name):  # else the next start tries again
            shutil.rmtree(self.state / "bundles" / name, ignore_errors=True)


def _without_cgroups(name: str) -> bool:
    """Whether no group of that sandbox is left. One whose processes still end cannot go yet."""
    groups = [*CGROUPS.glob(f"portico-sandbox-{name}"), *CGROUPS.glob(f"*/portico-sandbox-{name}")]
    for group in groups:
        with contextlib.suppress(OSError):
            group.rmdir()
    return not any(group.exists() for group in groups)


async def set_up(runsc: Path, state: Path, image: Image, limits: SandboxLimits) -> Isolation:
    """The strongest isolation that works here. IsolationUnavailable if none does."""
    (state / "bundles").mkdir(parents=True, exist_ok=True)
    (state / "runsc").mkdir(mode=0o700, exist_ok=True)
    for left in (state / "bundles").iterdir():  # by a service that was killed
        await Isolation(runsc, state, image, cgroups=os.geteuid() == 0).destroy(left.name)
    for cgroups in (True, False) if os.geteuid() == 0 else (False,):
        isolation = Isolation(runsc, state, image, cgroups)
        try:
            await isolation.check(limits)
        except IsolationUnavailable:
            if not cgroups:
                raise
            continue
        return isolation
    raise AssertionError("one of them returned or raised")


def _rlimit(kind: str, value: int) -> dict[str, Any]:
    return {"type": kind, "hard": value, "soft": value}


def _resources(limits: SandboxLimits) -> dict[str, Any]:
    return {
        "memory": {"limit": limits.memory_bytes + OVERHEAD},
        "cpu": {"shares": 512, "quota": limits.cpus * 100_000, "period": 100_000},
    }


def _writable(limits: SandboxLimits) -> list[dict[str, Any]]:
    mine = [f"uid={GUEST_UID}", f"gid={GUEST_UID}", "nosuid", "nodev"]
    sizes = {"/home/user": limits.home_bytes, "/tmp": limits.tmp_bytes, "/dev/shm": limits.tmp_bytes}
    modes = {"/home/user": "0700"}
    mounts: list[dict[str, Any]] = [{"destination": "/proc", "type": "proc", "source": "proc"}]
    for inside, size in sizes.items():
        options = [*mine, f"size={size}", f"mode={modes.get(inside, '1777')}"]
        mounts.append({"destination": inside, "type": "tmpfs", "source": "tmpfs", "options": options})
    return mounts


# What forbids user namespaces: the file below /proc/sys, what it says then, and what says otherwise.
FORBIDDEN = (
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
    ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
)


def _advice(reason: str, system: Path = Path("/proc/sys")) -> str:
    return f"no sandbox can be set apart here: {reason}. {_fix(system)}."


def _fix(system: Path) -> str:
    if shutil.which("unshare") is None:
        return "The program unshare is not there: install the package util-linux"
    for name, said, command in FORBIDDEN:
        file = system / name
        if os.geteuid() != 0 and file.exists() and file.read_text().strip() == said:
            return f"User namespaces are forbidden here: `sudo sysctl {command}` allows them, or start it as root"
    fix = "It must run as root, or as a user who may make user namespaces (not in a chroot)"
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        fix += (
            "; in a container it needs `--security-opt seccomp=infra/docker/seccomp.json`, and where there is "
            "AppArmor `--security-opt apparmor=unconfined` or the profile infra/docker/sandbox.apparmor"
        )
    return fix
