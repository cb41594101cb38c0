"""Slash commands as people type them, and the types that a tool's schema gives to their words."""

from __future__ import annotations

from typing import Any

import pytest

from portico.contracts.messages import Message, MessageKind, Sender
from portico.texts import catalog
from portico.tools.parameters import typed, usage
from workflows import decide, replies
from workflows.commands import TypedCall, approval_word, typed_call
from workflows.decide import Way

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "place": {"type": "string"},
        "days": {"type": "integer"},
        "exact": {"type": "boolean"},
        "size": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "level": {"enum": [1, 2]},
        "deep": {"$ref": "#/$defs/Deep"},
    },
    "required": ["place"],
    "additionalProperties": False,
    "$defs": {"Deep": {"type": "object", "properties": {"x": {"type": "integer"}}}},
}


def message(text: str, kind: MessageKind = MessageKind.COMMAND) -> Message:
    return Message(id="1", sender=Sender(id="2"), text=text, kind=kind)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("", TypedCall()),
        ("time", TypedCall("time")),
        ("time place=Tokyo", TypedCall("time", (("place", "Tokyo"),))),
        ('time place="New York" days=3', TypedCall("time", (("place", "New York"), ("days", "3")))),
        ("time place='a \\'quoted\\' word'", TypedCall("time", (("place", "a 'quoted' word"),))),
        ("time “São Paulo” now", TypedCall("time", (), ("São Paulo", "now"))),
        ("time place=「東京 都」", TypedCall("time", (("place", "東京 都"),))),
        ('x {"a": [1, {"b": null}]} c=1', TypedCall("x", (("c", "1"),), (), {"a": [1, {"b": None}]})),
        ("x tags=[1, 2] deep={\"x\": 1}", TypedCall("x", (("tags", "[1, 2]"), ("deep", '{"x": 1}')))),
        ("calculator 17 * 23", TypedCall("calculator", (), ("17", "*", "23"))),
        ("open http://a.example/?q=1&r=2", TypedCall("open", (), ("http://a.example/?q=1&r=2",))),
        ("open url=http://a.example/?q=1", TypedCall("open", (("url", "http://a.example/?q=1"),))),
        ("x\na=1\nb=2", TypedCall("x", (("a", "1"), ("b", "2")))),
        ("x a= b=2", TypedCall("x", (("a", ""), ("b", "2")))),
    ],
)  # fmt: skip
def test_a_typed_call_is_read(rest: str, expected: TypedCall) -> None:
    assert typed_call(rest) == expected


@pytest.mark.parametrize(
    ("rest", "mark"),
    [
        ('x a="never closed', '"'),
        ("x “never closed", "“"),
        ('x {"a": ', "{"),
        ("x {a: 1}", "{"),
        ("x a=[1, 2", "["),
        ('x {"a": NaN}', "{"),
        ("x " + "[" * 100_000, "["),
    ],
)
def test_what_is_not_closed_is_named(rest: str, mark: str) -> None:
    assert typed_call(rest) == TypedCall("x", fault=mark)


def test_words_get_the_types_of_the_schema() -> None:
    pairs = [("days", "3"), ("exact", "Yes"), ("size", "null"), ("tags", "a, b"), ("level", "2")]
    assert typed(SCHEMA, pairs=[*pairs, ("deep", '{"x": 1}')], loose=["New", "York"]) == {
        "days": 3, "exact": True, "size": None, "tags": ["a", "b"], "level": 2, "deep": {"x": 1},
        "place": "New York",
    }  # fmt: skip


def test_what_does_not_look_like_its_type_stays_a_text() -> None:
    found = typed(SCHEMA, pairs=[("days", "three"), ("exact", "maybe"), ("size", "big"), ("deep", "{")])
    assert found == {"days": "three", "exact": "maybe", "size": "big", "deep": "{"}
    assert typed(SCHEMA, pairs=[("days", "true"), ("size", "NaN"), ("place", "5")]) == {
        "days": "true", "size": "NaN", "place": "5",
    }  # fmt: skip


def test_words_that_nobody_can_place_are_kept_for_the_fault() -> None:
    two = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
    assert typed(two, loose=["x"]) == {"…": "x"}
    assert typed(two, pairs=[("a", "1")], loose=["x"]) == {"a": "1", "b": "x"}


def test_usage_shows_what_may_be_left_out() -> None:
    assert usage("weather", SCHEMA).startswith("/tool weather place=… [days=…]")


@pytest.mark.parametrize(
    ("text", "way", "rest"),
    [
        ("/tools", Way.LIST_TOOLS, ""),
        ("/tool time place=Tokyo", Way.TYPED_TOOL, "time place=Tokyo"),
        ("/TOOL\ntime", Way.TYPED_TOOL, "time"),
        ("/model  second ", Way.CHOOSE_MODEL, "second"),
    ],
)
def test_a_command_that_has_to_be_looked_up(text: str, way: Way, rest: str) -> None:
    plan = decide.decide_command(message(text), language="en")
    assert plan is not None
    assert (plan.way, plan.text.strip()) == (way, rest)


def test_help_names_every_command() -> None:
    for language in ("en", "zh"):
        plan = decide.decide_command(message("/help"), language=language)
        assert plan is not None
        assert all(f"/{name}" in plan.text for name in ("tools", "tool ", "model", "stop", "help"))


@pytest.mark.parametrize("kind", [MessageKind.COMMAND, MessageKind.BUTTON])
def test_an_approval_is_a_command_or_a_button(kind: MessageKind) -> None:
    word = approval_word(message(" /approve BCDFGH ", kind))
    assert word is not None
    assert (word.approved, word.code) == (True, "BCDFGH")
    denied = approval_word(message("/DENY bcdfgh", kind))
    assert denied is not None
    assert not denied.approved


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("/approve BCDFGH", MessageKind.TEXT),
        ("/approve BCDFGH", MessageKind.MEDIA),
        ("please /approve BCDFGH", MessageKind.COMMAND),
        ("/approve BCDFGH and everything else", MessageKind.COMMAND),
        ("/approve", MessageKind.COMMAND),
        ("/approved BCDFGH", MessageKind.COMMAND),
    ],
)
def test_anything_else_is_no_approval(text: str, kind: MessageKind) -> None:
    assert approval_word(message(text, kind)) is None


def test_every_sentence_is_there_in_both_languages_with_the_same_facts() -> None:
    import string

    sections = catalog.section("replies")
    for name in {name for texts in sections.values() for name in texts}:
        fields = {
            language: {field for _, field, _, _ in string.Formatter().parse(texts[name]) if field}
            for language, texts in sections.items()
            if name in texts
        }
        assert set(fields) == {"en", "zh"}, name
        assert fields["en"] == fields["zh"], name


def test_what_somebody_else_wrote_is_shown_as_plain_words() -> None:
    assert replies.shown_fault("a *b* [c](http://x)\n# d") == "a \\*b\\* \\[c\\](http://x) # d"
