"""What the storage tests share."""

from __future__ import annotations

MASTER = bytes(range(32))
