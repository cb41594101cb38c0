"""Which processes of a home do not hold a data key yet."""

from __future__ import annotations

from operations.embedded.state import Registry
from portico.crypto.holders import holders
from portico.settings.home import Home

PARTS = ("api", "worker")
"""The parts that hold data keys."""


def missing_in(home: Home, key_id: str) -> list[str]:
    """One line for each running process without the key; also for one that records nothing, an older version."""
    running = holders(home)
    lines = [
        f"{holder.part} (process {holder.pid}) has not read the keyring again yet"
        for holder in running
        if key_id not in holder.key_ids
    ]
    recorded = {holder.pid for holder in running}
    registry = Registry.load(home)
    for part in PARTS:
        identity = registry.identity(part)
        if identity is not None and identity.alive and identity.pid not in recorded:
            lines.append(
                f"{part} (process {identity.pid}) starts, or is a version that cannot: restart it then"
            )
    return lines
