"""What every part is started with: paths, settings, addresses and credentials of one stack."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from operations.embedded.state import Registry
from operations.setup.binaries import CHECKOUT
from portico.settings.home import Home
from portico.settings.settings import Settings

MODELS_ENVIRONMENT = CHECKOUT / ".venv-models"
INHERITED = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
QUIET = {"ORT_DISABLE_TELEMETRY": "1"}  # else ONNX Runtime reports each session to its maker


def models_packages() -> Path:
    """Where the models' environment has its packages; it is made with the same Python as this one."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return MODELS_ENVIRONMENT / "lib" / version / "site-packages"


@dataclass(frozen=True)
class StackContext:
    """One stack, seen by its parts."""

    home: Home
    settings: Settings
    registry: Registry
    credentials: dict[str, str] = field(repr=False)
    config: Path | None = None

    def address(self, name: str) -> str:
        address = self.registry.address(name)
        if address is None:
            raise LookupError(f"{name} has no address yet")
        return address

    def port(self, name: str) -> int:
        return int(self.address(name).rpartition(":")[2])

    @property
    def tls(self) -> bool:
        """Whether the edge speaks TLS."""
        return self.settings.tls.certificate is not None

    def plain_environment(self) -> dict[str, str]:
        """For servers that are not ours: nothing of Portico's own variables and keys."""
        given = os.environ  # noqa: TID251 - what a part inherits is chosen here
        return {name: given[name] for name in INHERITED if name in given} | QUIET

    def own_environment(self) -> dict[str, str]:
        """For our own processes: everything, with the home and the ports that this stack chose."""
        given = dict(os.environ)  # noqa: TID251 - what a part inherits is chosen here
        given.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled once, every later start is faster
        given["PORTICO_HOME"] = str(self.home.root)
        given["PORTICO_PORT"] = str(self.port("api"))
        given["PORTICO_GRPC_PORT"] = str(self.port("api-grpc"))
        if self.config:
            given["PORTICO_CONFIG"] = str(self.config)
        return given
