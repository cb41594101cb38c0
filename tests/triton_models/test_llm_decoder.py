"""The decoder of language models against plain numpy: alone, in pieces, together, in any row."""

from __future__ import annotations

import json

import pytest

from tests.tiny_model import run_with_models, write_tiny_model

Written = dict[str, list[list[int]]]


@pytest.fixture(scope="module", params=[(), ("--positions",)], ids=["positions inside", "positions given"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    model = write_tiny_model(tmp_path_factory.mktemp("decoder") / "model", *request.param)
    told: Written = json.loads(run_with_models("tests.triton_models.decoder_twice", model))
    return told


@pytest.mark.parametrize("how", ["whole", "in_pieces", "together"])
def test_writes_what_the_weights_say(written: Written, how: str) -> None:
    assert len({tuple(tokens) for tokens in written["plain"]}) == 3
    assert written[how] == written["plain"]
