"""Ids from pure functions: the same input always gives the same id.

Workflow ids are HMACs, so that Temporal's database reveals no account, number or name.
"""

from __future__ import annotations

import base64
import hashlib
import hmac


def keyed_id(key: bytes, *parts: str) -> str:
    """26 lower-case base32 characters (130 bits of HMAC-SHA256) over the parts, in order.

    Each part is prefixed with its length, so that no two lists of parts give the same message.
    """
    message = b"".join(len(part).to_bytes(8) + part for part in map(_bytes, parts))
    digest = hmac.new(key, message, hashlib.sha256).digest()
    return base64.b32encode(digest[:17]).decode().lower()[:26]


def conversation_id(key: bytes, *, channel: str, account: str, chat: str) -> str:
    """Workflow id of a conversation."""
    return "conversation-" + keyed_id(key, "conversation", channel, account, chat)


def person_id(key: bytes, *, channel: str, account: str, sender: str) -> str:
    """Id of a sender as used by policy and ledger."""
    return "person-" + keyed_id(key, "person", channel, account, sender)


def tool_run_id(turn_id: str, index: int) -> str:
    """Workflow id of the `index`-th tool run that a turn starts."""
    return f"tool-{turn_id}-{index}"


def dedup_digest(key: str) -> bytes:
    """16 bytes that stand for a deduplication key in the carried state."""
    return hashlib.sha256(_bytes(key)).digest()[:16]


def ascii_key(text: str) -> str:
    """A printable stand-in (32 hex digits) for any text, for idempotency keys."""
    return hashlib.sha256(_bytes(text)).hexdigest()[:32]


def _bytes(text: str) -> bytes:
    """JSON may carry a lone surrogate, which must not prevent an id."""
    return text.encode("utf-8", "surrogatepass")
