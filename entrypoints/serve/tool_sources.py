"""The worker's catalog: function files, MCP servers, and what functions may ask for while they run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from activities.tools import STEP_NAMES
from entrypoints.serve.wiring import Foundation
from operations.setup.binaries import CHECKOUT, cache_directory
from portico.egress.proxy import egress_proxy
from portico.settings.connections import sandbox_address
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.settings.table import MIB
from portico.storage.mcp_pins import McpPins
from portico.storage.objects.artifacts import Artifacts
from portico.storage.objects.blobs import BlobStore
from portico.storage.objects.workspace import WorkspaceStore
from portico.storage.secrets import SecretStore
from portico.storage.tools import ToolTable
from portico.tool import SandboxAccess
from portico.tools.catalog import Catalog
from portico.tools.functions.environments import Environments, Installer
from portico.tools.functions.folders import FunctionsFolder
from portico.tools.functions.pool import Pool
from portico.tools.functions.process import sweep_scratch
from portico.tools.functions.services import Grant, Services
from portico.tools.functions.source import FunctionSource
from portico.tools.mcp.source import McpSource

SHIPPED = CHECKOUT / "activities" / "functions"
BROUGHT = CHECKOUT / "environments"
"""Where an image has the environments of the shipped functions; nothing is installed there while it runs."""
NOT_BROUGHT = (
    "this image has no installer, only what the shipped functions need; build one of your own upon it"
)
INSTALLER_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR", "XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR")
INSTALLER_PREFIXES = ("UV_", "PIP_", "HTTP_", "HTTPS_", "NO_PROXY", "http_", "https_", "no_proxy")


def function_folders(home: Home) -> tuple[FunctionsFolder, ...]:
    """Shipped functions first, then those of the home, then the folders of `PORTICO_FUNCTIONS`."""
    given = os.environ.get("PORTICO_FUNCTIONS", "")  # noqa: TID251 - reserved name
    own = [Path(one).expanduser().absolute() for one in given.split(os.pathsep) if one]
    return (
        FunctionsFolder(SHIPPED, shipped=True),
        *(FunctionsFolder(path) for path in (home.functions, *own)),
    )


def make_services(ground: Foundation, blobs: BlobStore, *, proxy: Grant | None = None) -> Services:
    settings, home = ground.settings, ground.home
    return Services(
        workspaces=WorkspaceStore(ground.database, blobs, quota_bytes=settings.tools.workspace_mib * MIB),
        secrets=SecretStore(ground.database),
        artifacts=Artifacts(ground.database, blobs),
        sandbox=lambda person_id: sandbox_access(settings, home, person_id),
        proxy=proxy,
    )


def sandbox_access(settings: Settings, home: Home, person_id: str) -> SandboxAccess | str:
    """Access for one person's task, or why there is none now."""
    sandbox = sandbox_address(settings, home)
    if sandbox.unavailable:
        return sandbox.unavailable
    return SandboxAccess(sandbox.url, sandbox.url, sandbox.key, {"portico": person_id})


def make_functions(settings: Settings, home: Home, services: Services) -> FunctionSource:
    return FunctionSource(
        function_folders(home),
        services,
        Pool(processes=settings.tools.processes),
        environments=environments,
        memory_bytes=settings.tools.memory_mib * MIB,
        remembered=home.run / "functions.json",
    )


class WorkerTools:
    """Everything about tools that one worker holds."""

    def __init__(self, ground: Foundation, blobs: BlobStore) -> None:
        self._proxy = egress_proxy(ground.settings)
        services = make_services(ground, blobs, proxy=self._proxy.grant)
        self._functions = make_functions(ground.settings, ground.home, services)
        self._servers = McpSource(ground.settings, ground.home, McpPins(ground.database), ground.resolve)
        publish = ToolTable(ground.database).publish
        self.catalog = Catalog((self._functions, self._servers), publish=publish, reserved=STEP_NAMES)
        """Functions come first: their names are taken."""

    async def start(self) -> None:
        """Learn which functions there are, and tell api and CLI."""
        sweep_scratch()
        await self._functions.start()
        self.catalog.refresh()
        await self.catalog.publish()

    async def close(self) -> None:
        await self._servers.close()
        await self._functions.close()
        await self._proxy.close()


def environments(ready: Callable[[], None]) -> Environments:
    if BROUGHT.is_dir():
        return Environments(BROUGHT, installer, ready=ready)
    return Environments(cache_directory() / "functions", installer, ready=ready)


def installer() -> Installer:
    """The uv that the set-up installed, else the one in PATH, with the package index that is configured here."""
    from operations.setup.environments import uv_environment

    installed = sorted((cache_directory() / "tools").glob("*/bin/uv"), key=lambda path: path.stat().st_mtime)
    found = str(installed[-1]) if installed else shutil.which("uv")
    given = {
        name: value
        for name, value in os.environ.items()  # noqa: TID251 - what the installer inherits is chosen here
        if name in INSTALLER_VARIABLES or name.startswith(INSTALLER_PREFIXES)
    }
    if found is None and not (CHECKOUT / "Makefile").exists():  # an image, which has no set-up
        return Installer(None, {}, NOT_BROUGHT)
    return Installer(Path(found) if found else None, {**uv_environment(), **given})
