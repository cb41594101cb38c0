"""Turns what a request carries in `TEXT` into strings fit for the encoder. Runs inside Triton."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

# 256 word pieces seldom cover more than 2,000 characters; what lies behind is never looked at,
# so that a megabyte of text costs no more than a page.
MAX_CHARACTERS = 4_000


class BadText(ValueError):
    """A text of one request that cannot be read. Its message is for the one who sent it."""


def read_texts(tensor: np.ndarray[Any, Any]) -> list[str]:
    """The strings of a BYTES tensor [-1, 1], shortened. Raises `BadText` for what is not UTF-8."""
    return [_read(position, raw) for position, raw in enumerate(tensor.reshape(-1))]


def _read(position: int, raw: bytes | str) -> str:
    if isinstance(raw, str):
        return raw[:MAX_CHARACTERS]
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise BadText(f"TEXT[{position}] is not UTF-8: {error.reason} at byte {error.start}") from None
    return text[:MAX_CHARACTERS]
