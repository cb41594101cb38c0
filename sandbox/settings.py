"""Settings of the service. Built once by `python -m sandbox` and handed down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sandbox.allowed import Rule

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class SandboxLimits:
    """What one sandbox may use. `memory_bytes` counts its files too: they live in memory."""

    memory_bytes: int = 1024 * MIB
    home_bytes: int = 512 * MIB
    tmp_bytes: int = 256 * MIB
    processes: int = 256  # threads count
    open_files: int = 4096
    cpus: int = 2
    timeout_s: int = 300
    longest_timeout_s: int = 24 * 3600


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """`host` must be an address of this machine that others cannot reach: the key is the only protection."""

    host: str
    port: int
    state_dir: Path
    key: str
    runsc: Path
    image_dir: Path
    warm: int = 1
    most: int = 24
    pictures_bytes: int = 4096 * MIB  # of paused ones and snapshots, together
    limits: SandboxLimits = SandboxLimits()
    allowed_hosts: tuple[Rule, ...] = ()  # no sandbox reaches any other, whatever it asks for
