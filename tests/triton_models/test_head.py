"""The intent head: its features, its decision, and that training it gives the same head every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triton_models.head import OUT_OF_SCOPE, Guess, Head, load_head, ngrams
from triton_models.train import Examples, feature_matrix, train_head

NO_EMBEDDING = np.zeros((1, 384), dtype=np.float32)
TRAINING = {
    "music": ["play a song", "play some music", "put on a record", "放首歌", "来点音乐", "播放歌曲"],
    "lights": ["turn on the light", "switch the lamp off", "lights out", "开灯", "把灯关了", "灯太亮"],
    OUT_OF_SCOPE: ["what is a whale", "my cat is ill", "tell me a story", "鲸鱼是什么", "猫病了", "讲个故事"],
}


def buckets(text: str) -> set[int]:
    return set(ngrams(text)[0].tolist())


def trained() -> Head:
    texts = [text for examples in TRAINING.values() for text in examples]
    intents = [name for name, examples in TRAINING.items() for _ in examples]
    return train_head(Examples(texts, intents, np.zeros((len(texts), 384), dtype=np.float32)))


@given(st.text())
def test_features_of_any_text_have_a_bounded_length(text: str) -> None:
    found, values = ngrams(text)

    assert len(set(found.tolist())) == len(found)
    assert np.linalg.norm(values) <= 1.5 + 1e-5


def test_an_empty_text_has_no_features_but_its_emptiness() -> None:
    assert len(buckets("")) == len(buckets("   ")) == 1


def test_numbers_are_alike_and_so_are_wide_and_narrow_letters() -> None:
    assert buckets("17*23") == buckets("9 * 1,000.5")
    assert buckets("ＨＥＬＬＯ") == buckets("hello")


def test_chinese_shares_characters_and_pairs() -> None:
    assert len(buckets("现在几点") & buckets("东京现在几点了")) >= 6


def test_nothing_fits_below_the_threshold() -> None:
    head = Head(
        "v", ("a", OUT_OF_SCOPE), np.zeros((384 + 8_192, 2), np.float32), np.zeros(2, np.float32), 0.6
    )

    assert head.predict(["anything"], NO_EMBEDDING) == [Guess(OUT_OF_SCOPE, 0.5)]


def test_learns_both_languages() -> None:
    head = trained()

    for text, intent in [
        ("play me a song", "music"),
        ("放音乐", "music"),
        ("light off", "lights"),
        ("关灯", "lights"),
    ]:
        assert head.predict([text], NO_EMBEDDING)[0].intent == intent
    for text in ["is the whale ill", "猫是什么故事"]:
        assert head.predict([text], NO_EMBEDDING)[0].intent == OUT_OF_SCOPE


def test_training_again_gives_the_same_head() -> None:
    assert trained().version == trained().version


def test_a_stored_head_decides_the_same(tmp_path: Path) -> None:
    head = trained()
    head.save(tmp_path / "head.npz")
    loaded = load_head(tmp_path / "head.npz")

    assert (loaded.version, loaded.names, loaded.threshold) == (head.version, head.names, head.threshold)
    text = ["switch on the lamp"]
    assert loaded.predict(text, NO_EMBEDDING)[0].score == pytest.approx(
        head.predict(text, NO_EMBEDDING)[0].score
    )


def test_served_and_trained_features_are_the_same() -> None:
    head = trained()
    matrix = feature_matrix(["play 一首歌"], NO_EMBEDDING)
    logits = matrix @ head.weights + head.bias
    expected = np.exp(logits - logits.max())

    assert head.predict(["play 一首歌"], NO_EMBEDDING)[0].score == pytest.approx(
        float((expected / expected.sum()).max()), abs=1e-5
    )
