"""The one reader of waiting times that others ask for: HTTP's `Retry-After` and the like."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_S = 3600.0
"""A longer wait is cut: the request is then repeated, and the answer says so again."""

_SECONDS = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?")


def retry_after_s(value: object, *, now: datetime | None = None) -> float | None:
    """Seconds to wait, more than 0 and at most `LONGEST_S`; None where `value` asks for no wait. Never raises.

    `value` is a number, or text as RFC 9110, 10.2.3 has it: seconds, or a date in any of the three HTTP formats.
    Fractions of seconds are accepted, because servers send them.
    """
    if isinstance(value, str):
        seconds = _of_text(value.strip(), now or datetime.now(UTC))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = _of_number(value)
    else:
        return None
    return min(seconds, LONGEST_S) if seconds > 0 else None


def _of_number(value: float) -> float:
    """0 for what is not a time; integers may be larger than any float."""
    if isinstance(value, int):
        return float(min(max(value, 0), 10**9))
    return value if math.isfinite(value) else 0.0


def _of_text(text: str, now: datetime) -> float:
    if _SECONDS.fullmatch(text):
        return float(text)
    if text.isascii() and text.isdigit():
        return LONGEST_S  # more digits than any time has
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
