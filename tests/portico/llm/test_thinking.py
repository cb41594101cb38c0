from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.llm.thinking import AnswerOnly


def shown(*pieces: str) -> str:
    only = AnswerOnly()
    return "".join(only.feed(piece) for piece in pieces) + only.rest()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain words", "plain words"),
        ("  indented", "  indented"),
        ("<think>hm</think>\n\nFour", "Four"),
        ("\n<think>hm</think>Four", "Four"),
        ("<think></think>Four </think> five", "Four </think> five"),
        ("<think>never ends", ""),
        ("<thin", "<thin"),
        ("<b>bold</b>", "<b>bold</b>"),
        ("say <think>x</think>", "say <think>x</think>"),
        ("", ""),
    ],
)
def test_only_the_answer_is_shown_however_it_is_cut(text: str, expected: str) -> None:
    assert shown(text) == expected
    assert shown(*text) == expected


@given(st.lists(st.text(alphabet="<think>/ ab\n", max_size=8), max_size=12))
def test_pieces_never_change_the_outcome(pieces: list[str]) -> None:
    assert shown(*pieces) == shown("".join(pieces))
