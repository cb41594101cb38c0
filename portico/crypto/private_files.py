"""Write files that only their owner can read: whole or not at all, and synced to disk."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_private(path: Path, content: bytes, *, exclusive: bool = False) -> None:
    """Write a file that only its owner can read, whole or not at all. `exclusive`: an existing one wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if exclusive:
            _link_unless_there(beside, path)
        else:
            beside.replace(path)
        _sync_directory(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    """The name as well must outlive a power cut: a lost keyring is lost content."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link_unless_there(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:  # another process of the same first start was faster: its content is the one
        return
