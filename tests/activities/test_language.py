"""The language of a text, by its script."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.language import UNKNOWN, detect_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("what time is it?", "en"),
        ("你好", "zh"),
        ("请打开 example.com", "zh"),
        ("帮我运行 python", "zh"),
        ("访问 https://example.org/some/page?query=words", "zh"),
        ("use 微信 to log in to your account please", "en"),
        ("今日の天気は?", "ja"),
        ("東京タワーに行きたい", "ja"),
        ("오늘 뭐 먹지?", "ko"),
        ("Привет, как дела?", "ru"),
        ("مرحبا", "ar"),
        ("שלום", "he"),
        ("สวัสดี", "th"),
        ("Καλημέρα", "el"),
        ("¿Qué tal?", "en"),  # Latin script is answered in English
    ],
)
def test_names_the_language_of_a_script(text: str, language: str) -> None:
    assert detect_language(text) == language


@pytest.mark.parametrize("text", ["", "   ", "17 * 23", "👍🎉", "…?!", "\x00\x07", "\ud800"])
def test_knows_no_language_without_letters(text: str) -> None:
    assert detect_language(text) == UNKNOWN


@given(st.text())
def test_answers_for_any_text(text: str) -> None:
    assert 2 <= len(detect_language(text)) <= 3


def test_a_long_text_costs_no_more_than_its_beginning() -> None:
    assert detect_language("hello " * 1_000 + "你好" * 1_000_000) == "en"
