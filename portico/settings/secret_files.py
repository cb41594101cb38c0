"""Reads a secret from a file of its own, as mounted into containers."""

from __future__ import annotations

from pathlib import Path

from portico.errors import Misconfigured


def read_secret_file(place: str | Path, *, wanted_by: str = "") -> str:
    """What the file holds, without the end of its line. Raises `Misconfigured`, which names the file."""
    path = Path(place).expanduser()
    try:
        return path.read_text().strip()
    except OSError as error:
        prefix = f"{wanted_by}: " if wanted_by else ""
        raise Misconfigured(f"{prefix}the secret file {path} cannot be read ({error.strerror})") from None
