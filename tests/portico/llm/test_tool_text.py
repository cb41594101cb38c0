"""Tool calls that a model writes into its text."""

from __future__ import annotations

import json

import pytest

from portico.llm.tool_text import CallsInText

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": "二"}}\n</tool_call>'


def read(text: str, *, size: int) -> tuple[str, list[tuple[str, str]]]:
    reader = CallsInText()
    shown = "".join(reader.feed(text[at : at + size]) for at in range(0, len(text), size)) + reader.rest()
    return shown, [(call.name, call.arguments) for call in reader.calls()]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_finds_calls_however_the_text_is_cut(size: int) -> None:
    shown, calls = read(f"Let me see.\n{CALL}\n{CALL}", size=size)

    assert shown.strip() == "Let me see."
    assert calls == [("add", '{"a": 1, "b": "二"}')] * 2


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("text", ["", "a < b", "<tool", "<tool_call", "x</tool_call>", "<<tool_cal>l>"])
def test_shows_all_that_is_no_call(text: str, size: int) -> None:
    assert read(text, size=size) == (text, [])


def test_a_call_that_is_no_json_keeps_its_text() -> None:
    _, calls = read('<tool_call>{"name": "add", "arguments": {"a": 1,}</tool_call>', size=5)

    assert calls == [("add", '{"name": "add", "arguments": {"a": 1,}')]


def test_a_call_that_was_broken_off_counts() -> None:
    shown, calls = read('sure <tool_call>{"name": "add", "argu', size=4)

    assert (shown, calls) == ("sure ", [("add", '{"name": "add", "argu')])


@pytest.mark.parametrize("block", ["[1]", "null", '"add"', '{"name": 5}', ""])
def test_other_json_is_a_call_of_no_name(block: str) -> None:
    assert read(f"<tool_call>{block}</tool_call>", size=9)[1] == [("", block)]


def test_arguments_as_a_text_stay_one() -> None:
    block = json.dumps({"name": "add", "arguments": '{"a": 1}'})

    assert read(f"<tool_call>{block}</tool_call>", size=9)[1] == [("add", '{"a": 1}')]


def test_every_call_has_an_id_of_its_own() -> None:
    reader = CallsInText()
    reader.feed(CALL + CALL)

    first, second = reader.calls()
    assert first.id != second.id
