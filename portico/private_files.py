"""Write files that only their owner can read: whole or not at all, and synced to disk."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

PRIVATE = 0o600


def write_private(
    path: Path,
    content: bytes | str,
    *,
    exclusive: bool = False,
    mode: int = PRIVATE,
    staging: Path | None = None,
    durable: bool = True,
) -> None:
    """Replace a file atomically. Raises `OSError`; nothing is left behind then.

    `exclusive`: an existing file wins. `mode`: for a file that is not secret, or keeps the mode of the one before.
    `staging`: folder of the temporary file, where the target's own is watched; same file system. `durable=False`
    skips the sync, for state that is written often and rebuilt after a power cut.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = (staging or path.parent) / f".{path.name}.{secrets.token_hex(4)}.part"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fchmod(descriptor, mode)
            if durable:
                os.fsync(descriptor)
        if exclusive:
            _link_unless_exists(temporary, path)
        else:
            temporary.replace(path)
        if durable:
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """The names in a folder must outlive a power cut, too: a lost keyring is lost content."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link_unless_exists(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:  # another process of the same first start was faster: its content counts
        return
