"""The server binaries that are built from source, and where they are kept.

Only the standard library: the set-up runs this before any environment exists. A binary's file name carries
its version and a digest of what pins it, so that checkouts share one cache and never each other's versions.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


def cache_directory() -> Path:
    """`~/.cache/portico`, or below `XDG_CACHE_HOME`."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "portico"


@dataclass(frozen=True)
class Binary:
    """One server: its folder in `infra/binaries` holds the `go.mod` and `go.sum` that pin it."""

    name: str
    module: str
    package: str
    version_command: tuple[str, ...]

    @property
    def source(self) -> Path:
        return CHECKOUT / "infra" / "binaries" / self.name

    @property
    def version(self) -> str:
        pinned = re.search(rf"^\s*(?:require )?{re.escape(self.module)} v(\S+)", self._go_mod(), re.MULTILINE)
        if pinned is None:
            raise ValueError(f"{self.source}/go.mod does not pin {self.module}")
        return pinned.group(1)

    @property
    def path(self) -> Path:
        pins = self._go_mod().encode() + (self.source / "go.sum").read_bytes()
        digest = hashlib.sha256(pins).hexdigest()[:8]
        return cache_directory() / "bin" / f"{self.name}-{self.version}-{digest}"

    def _go_mod(self) -> str:
        return (self.source / "go.mod").read_text()


OPA = Binary(
    "opa",
    "github.com/open-policy-agent/opa",
    "github.com/open-policy-agent/opa",
    version_command=("version",),
)
VERSITYGW = Binary(
    "versitygw",
    "github.com/versity/versitygw",
    "github.com/versity/versitygw/cmd/versitygw",
    version_command=("--version",),
)
BINARIES = (OPA, VERSITYGW)
RUNSC = Binary("runsc", "gvisor.dev/gvisor", "gvisor.dev/gvisor/runsc", version_command=("--version",))
ON_DEMAND = (RUNSC,)  # takes about a minute, so the first answer does not wait for it


def find_binary(name: str) -> Path | None:
    """The installed binary of that name; nothing is built here."""
    path = next(binary.path for binary in (*BINARIES, *ON_DEMAND) if binary.name == name)
    return path if path.exists() else None
