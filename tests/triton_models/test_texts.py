"""What `TEXT` may hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from triton_models.texts import MAX_CHARACTERS, BadText, read_texts


def tensor(*values: bytes) -> np.ndarray[Any, Any]:
    return np.array([[value] for value in values], dtype=np.object_)


def test_names_the_text_that_is_not_utf8() -> None:
    with pytest.raises(BadText, match=r"TEXT\[1\] is not UTF-8: .* at byte 1"):
        read_texts(tensor(b"fine", b"a\xff"))


def test_reads_texts_in_order() -> None:
    assert read_texts(tensor("你好".encode(), b"", b"\x00\x07")) == ["你好", "", "\x00\x07"]


def test_shortens_a_megabyte() -> None:
    assert [len(text) for text in read_texts(tensor(b"a" * 1_000_000))] == [MAX_CHARACTERS]
