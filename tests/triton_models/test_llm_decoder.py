"""The decoder of language models against plain numpy: alone, in pieces, together, in any row."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tiny_model import run_with_models


@pytest.fixture(scope="module")
def written(tiny_model: Path) -> dict[str, list[list[int]]]:
    told: dict[str, list[list[int]]] = json.loads(
        run_with_models("tests.triton_models.decoder_twice", tiny_model)
    )
    return told


@pytest.mark.parametrize("how", ["whole", "in_pieces", "together"])
def test_writes_what_the_weights_say(written: dict[str, list[list[int]]], how: str) -> None:
    assert len({tuple(tokens) for tokens in written["plain"]}) == 3
    assert written[how] == written["plain"]
