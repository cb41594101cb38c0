"""What `portico status` tells: each part's process, address and what it answers when asked."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from pathlib import Path

from operations.embedded.context import StackContext
from operations.embedded.parts import PARTS, Part, switched_off
from operations.embedded.process import members
from operations.embedded.state import Registry, SupervisorLock, load_credentials
from portico.settings.connections import sandbox_address
from portico.settings.home import Home
from portico.settings.settings import Settings


@dataclass(frozen=True)
class PartStatus:
    """One part; `state` is ready, starting (runs but does not answer yet), stopped or external.

    A part that the rest can do without is also `unavailable`, with its reason, or `off`.
    """

    part: str
    state: str
    pid: int | None
    address: str | None
    pss_bytes: int
    reason: str = ""
    needed: bool = True


@dataclass(frozen=True)
class StackStatus:
    home: str
    supervisor: int | None
    parts: tuple[PartStatus, ...]
    grpc: str | None = None
    """The gRPC address of the api."""

    @property
    def ready(self) -> bool:
        """Every part that the stack needs answers."""
        return self.supervisor is not None and all(
            part.state in ("ready", "external") or not part.needed for part in self.parts
        )

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "ready": self.ready}


def read_status(home: Home, settings: Settings) -> StackStatus:
    registry = Registry.load(home)
    context = StackContext(home, settings, registry, load_credentials(home) if home.run.exists() else {})

    async def ask_all() -> list[PartStatus]:
        return await asyncio.gather(*(_ask(part, context) for part in PARTS))

    parts = asyncio.run(ask_all())
    return StackStatus(
        str(home.root), SupervisorLock(home).holder(), tuple(parts), grpc=registry.address("api-grpc")
    )


async def _ask(part: Part, context: StackContext) -> PartStatus:
    elsewhere = part.external(context.settings)
    if elsewhere:
        return PartStatus(part.name, "external", None, elsewhere, 0, needed=not part.late)
    if switched_off(part, context.settings):
        return PartStatus(part.name, "off", None, None, 0, needed=False)
    identity = context.registry.identity(part.name)
    address = context.registry.address(part.name)
    if identity is None or not identity.alive:
        why = sandbox_address(context.settings, context.home).unavailable if part.late else ""
        state = "unavailable" if why else "stopped"
        return PartStatus(part.name, state, None, address, 0, reason=why, needed=not part.late)
    ready = await part.ready(context, identity.pid)
    return PartStatus(
        part.name,
        "ready" if ready else "starting",
        identity.pid,
        address,
        session_pss(identity.pid),
        needed=not part.late,
    )


def session_pss(session: int) -> int:
    """Proportional memory of a session's processes, in bytes."""
    return sum(_pss(pid) for pid in members(session))


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
