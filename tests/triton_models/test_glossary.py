"""The Chinese glossary: words by the longest match, names last, bounded, and other writing left alone."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triton_models.glossary import Glossary, write_glossary

DICTIONARY = """\
# a comment
天 天 [tian1] /day/sky/
天氣 天气 [tian1 qi4] /weather/
王 王 [Wang2] /surname Wang/
王 王 [wang2] /king or monarch/best or strongest of its type/
北京 北京 [Bei3 jing1] /Beijing, capital of China/
預報 预报 [yu4 bao4] /to forecast (the weather)/a forecast/
菜 菜 [cai4] /vegetable (CL:棵[ke1])/dish/
廢 废 [fei4] /a long explanation that names nothing at all/
"""


@pytest.fixture(scope="module")
def glossary(tmp_path_factory: pytest.TempPathFactory) -> Glossary:
    folder = tmp_path_factory.mktemp("glossary")
    (folder / "dictionary.gz").write_bytes(gzip.compress(DICTIONARY.encode()))
    write_glossary(folder / "dictionary.gz", folder / "glossary.bin")
    return Glossary(folder / "glossary.bin")


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("北京天气预报", "Beijing weather forecast"),
        ("天氣", "weather"),
        ("王", "king or monarch"),
        ("天王", "day king or monarch"),
        ("菜", "vegetable"),
        ("废", ""),
        ("龘", ""),
        ("", ""),
        ("what is the weather", "what is the weather"),
        ("用 GPS 看天气😀", "GPS weather 😀"),
    ],
)
def test_words_are_replaced_by_their_first_meaning(glossary: Glossary, text: str, english: str) -> None:
    assert glossary.english(text) == english


def test_a_long_text_is_cut(glossary: Glossary) -> None:
    assert glossary.english("天" * 100_000) == " ".join(["day"] * 400)


@given(st.text(alphabet="天气王北京 ab\n\t😀龘", max_size=50))
def test_any_text_is_read(glossary: Glossary, text: str) -> None:
    assert not any("\u3400" <= character <= "\u9fff" for character in glossary.english(text))
