"""How a function's process and its worker speak: frames of JSON with bytes behind it. Standard library only.

A frame is two lengths (four bytes each, big-endian), the JSON and the bytes.
"""

from __future__ import annotations

import json
import struct
from typing import Any

HEAD = struct.Struct(">II")
LARGEST_JSON = 20 << 20
LARGEST_BYTES = 110 << 20

Message = dict[str, Any]


def pack(message: Message, data: bytes = b"") -> bytes:
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return HEAD.pack(len(text), len(data)) + text + data


def sizes(head: bytes) -> tuple[int, int]:
    """Lengths of what follows. Raises `ValueError` where one is over the limit."""
    text, data = HEAD.unpack(head)
    if text > LARGEST_JSON or data > LARGEST_BYTES:
        raise ValueError("a frame is too long")
    return text, data


def unpack(text: bytes) -> Message:
    """Raises `ValueError` where it is not a JSON object."""
    message = json.loads(text)
    if not isinstance(message, dict):
        raise ValueError("a frame is an object")
    return message
