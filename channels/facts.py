"""Facts about channels that workflows need. Pure: no settings, no clients."""

from __future__ import annotations

WEB = "web"
"""The chat page and `POST /v1/messages`: the edge's own channel."""
LIVE = frozenset({WEB})
"""Channels that read the outbox and the live hub themselves: nothing is sent, waiting and typing show there."""
