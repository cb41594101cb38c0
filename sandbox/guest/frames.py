"""How the service and the agent inside a sandbox speak: frames over the agent's standard input and output.

A frame is two big-endian lengths, a JSON object, and bytes. Both ends use this module; the service trusts nothing
that arrives and bounds every length before it reads.
"""

from __future__ import annotations

import json
import struct
from typing import Any

PREFIX = struct.Struct(">II")
MAX_HEADER = 32 * 1024 * 1024  # a result with pictures travels in the header
MAX_BODY = 1024 * 1024
CHUNK = 256 * 1024

Header = dict[str, Any]


class FrameError(ValueError):
    """What arrived is no frame."""


def encode(header: Header, body: bytes = b"") -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    if len(text) > MAX_HEADER or len(body) > MAX_BODY:
        raise FrameError("a frame is too large")
    return PREFIX.pack(len(text), len(body)) + text + body


def lengths(prefix: bytes) -> tuple[int, int]:
    header, body = PREFIX.unpack(prefix)
    if header > MAX_HEADER or body > MAX_BODY:
        raise FrameError("a frame claims to be too large")
    return header, body


def decode_header(text: bytes) -> Header:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FrameError("a frame's header is not JSON") from error
    if not isinstance(header, dict) or not isinstance(header.get("id"), int):
        raise FrameError("a frame's header has no id")
    return header
