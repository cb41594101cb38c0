"""The intent head: its features, its decision, and that training it gives the same head every time."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triton_models.head import (
    OUT_OF_SCOPE,
    Guess,
    Head,
    View,
    groups_of,
    load_head,
    ngrams,
    score_of,
    softmax,
)
from triton_models.train import Examples, feature_matrix, train_head

NO_EMBEDDING = np.zeros((1, 384), dtype=np.float32)
TRAINING = {
    "music": ["play a song", "play some music", "put on a record", "放首歌", "来点音乐", "播放歌曲"],
    "lights": ["turn on the light", "switch the lamp off", "lights out", "开灯", "把灯关了", "灯太亮"],
    OUT_OF_SCOPE: ["what is a whale", "my cat is ill", "tell me a story", "鲸鱼是什么", "猫病了", "讲个故事"],
}


def buckets(text: str) -> set[int]:
    return set(ngrams(text)[0].tolist())


def learned(examples: dict[str, list[str]], embeddings: Iterable[np.ndarray[Any, Any]]) -> Head:
    texts = [text for listed in examples.values() for text in listed]
    intents = [name for name, listed in examples.items() for _ in listed]
    known = np.array([row for row, _ in zip(embeddings, texts, strict=False)], np.float32)
    return train_head(Examples(texts, intents, known))


def trained() -> Head:
    return learned(TRAINING, repeat(NO_EMBEDDING[0]))


@given(st.text())
def test_features_of_any_text_have_a_bounded_length(text: str) -> None:
    found, values = ngrams(text)

    assert len(set(found.tolist())) == len(found)
    assert np.linalg.norm(values) <= 1 + 1e-5


def test_an_empty_text_has_no_features_but_its_emptiness() -> None:
    assert len(buckets("")) == len(buckets("   ")) == 1


def test_numbers_are_alike_and_so_are_wide_and_narrow_letters() -> None:
    assert buckets("17*23") == buckets("9 * 1,000.5")
    assert buckets("ＨＥＬＬＯ") == buckets("hello")


def test_chinese_shares_characters_and_pairs() -> None:
    assert len(buckets("现在几点") & buckets("东京现在几点了")) >= 6


def test_nothing_fits_below_the_threshold() -> None:
    view = View(np.zeros((2, 384), np.float32), np.ones((2, 2), np.float32), np.ones(8_192, np.float32))
    weights = np.zeros((384 + 8_192, 2), np.float32)
    head = Head("v", ("a", OUT_OF_SCOPE), view, weights, np.zeros(2, np.float32), (1.0, 0.0), 0.6)

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
    texts = ["play 一首歌"]
    matrix = feature_matrix(head.view, [ngrams(text) for text in texts], groups_of(texts), NO_EMBEDDING)
    logits = matrix[:, :-1] @ head.weights + head.bias
    expected = score_of(softmax(logits).max(), head.certainty)

    assert head.predict(texts, NO_EMBEDDING)[0].score == pytest.approx(float(expected), abs=1e-5)


def test_without_examples_outside_the_best_intent_always_counts() -> None:
    inside = {name: texts for name, texts in TRAINING.items() if name != OUT_OF_SCOPE}
    head = learned(inside, repeat(NO_EMBEDDING[0]))

    assert head.threshold == 0
    assert head.predict(["什么"], NO_EMBEDDING)[0].intent in inside


def test_the_head_learns_whom_to_trust_for_which_language() -> None:
    """Embeddings that know the English labels and nothing about the Chinese ones; letters the other way round."""
    chance = np.random.default_rng(0)
    centers = chance.normal(size=(6, 384))
    examples: dict[str, list[str]] = {}
    embeddings = []
    for label in range(6):
        for number in range(12):
            words = " ".join(chance.choice(list("abcdefgh"), size=6))
            examples.setdefault(f"l{label}", []).append(f"{words} {number}")
            embeddings.append(centers[label] + chance.normal(size=384) * 0.5)
        for _ in range(12):
            letters = "".join(chance.choice(list("天地人山水火风云"), size=4)) + "甲乙丙丁戊己"[label]
            examples[f"l{label}"].append(letters)
            embeddings.append(chance.normal(size=384))
    head = learned(examples, embeddings)
    english, chinese = head.view.trust[:, 1] ** 2 / (head.view.trust**2).sum(axis=1)

    assert english <= 0.4
    assert chinese >= 0.65


def test_scores_say_how_often_the_head_is_right() -> None:
    """Six overlapping clouds: the head cannot be right always, and has to know it."""
    chance = np.random.default_rng(1)
    centers = chance.normal(size=(6, 384))

    def draw(count: int) -> tuple[list[int], np.ndarray[Any, Any]]:
        labels = [number % 6 for number in range(count)]
        drawn = centers[labels] + chance.normal(size=(count, 384)) * 7
        return labels, (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)

    labels, embeddings = draw(180)
    head = train_head(Examples(["same"] * 180, [f"l{label}" for label in labels], embeddings))
    labels, embeddings = draw(1_200)
    guesses = head.predict(["same"] * 1_200, embeddings)
    hits = np.array([guess.intent == f"l{label}" for guess, label in zip(guesses, labels, strict=True)])
    scores = np.array([guess.score for guess in guesses])

    assert 0.4 < hits.mean() < 0.95
    bins = np.minimum((scores * 10).astype(int), 9)
    gaps = [abs((hits - scores)[bins == number].sum()) for number in range(10)]
    assert sum(gaps) / len(hits) <= 0.08
