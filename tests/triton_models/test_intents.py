"""Intent files: what is refused and where, what overrides what, and that the shipped ones are sound."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from triton_models.intents import Intent, IntentError, load_intents, read_intent, read_out_of_scope

UNDERSTAND = Path(__file__).parents[2] / "triton_models" / "understand"
SHIPPED = {
    "calculate", "greetings", "handover", "help", "open_page", "reminders", "run_code", "search_documents",
    "status", "stop", "summarize", "thanks", "time", "todos",
}  # fmt: skip
GOOD = """\
name: coffee
examples:
  en: [make coffee, brew a cup, espresso please]
  zh: [来杯咖啡, 煮咖啡]
action:
  reply:
    en: "On its way."
"""


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        ("", 1, "empty"),
        ("name: [", 1, "not YAML"),
        ("- a\n- b\n", 1, "mapping"),
        (GOOD.replace("name: coffee", "name: Coffee!"), 1, "cannot be a name"),
        (GOOD.replace("name: coffee", "name: out_of_scope"), 1, "cannot be a name"),
        (GOOD.replace("name: coffee\n", ""), 1, '"name" is missing'),
        (GOOD.replace("examples:\n", "exampels:\n"), 2, 'unknown key "exampels"'),
        (GOOD.replace("  zh: [来杯咖啡, 煮咖啡]\n", "  de: [Kaffee]\n"), 4, 'unknown key "de"'),
        (GOOD.replace("brew a cup", "{a: b}"), 3, "expected a text"),
        (GOOD.replace("brew a cup", '""'), 3, "1 to 400 characters"),
        (GOOD.replace("[make coffee, brew a cup, espresso please]", "make coffee"), 3, "expected a list"),
        (GOOD.replace("  zh: [来杯咖啡, 煮咖啡]\n", ""), 3, "at least 5 examples, here are 3"),
        (GOOD.replace("  reply:", "  ask_model: true\n  reply:"), 6, "exactly one of"),
        (GOOD.replace('  reply:\n    en: "On its way."\n', "  slots: {a: ['(x)']}\n"), 6, "exactly one of"),
        (GOOD.replace('    en: "On its way."\n', "    {}\n"), 7, "a text in en or zh"),
        (GOOD.replace('  reply:\n    en: "On its way."\n', "  ask_model: maybe\n"), 6, "expected true"),
        (
            GOOD.replace('  reply:\n    en: "On its way."\n', "  tool: x\n  slots:\n    a:\n      - '('\n"),
            9,
            "not a regular expression",
        ),
        (
            GOOD.replace('  reply:\n    en: "On its way."\n', "  tool: x\n  slots:\n    a: ['\\d+']\n"),
            8,
            "needs a group",
        ),
        (GOOD + "name: tea\n", 8, "stands here twice"),
    ],
)
def test_refuses_a_wrong_file_and_says_where(tmp_path: Path, content: str, line: int, says: str) -> None:
    path = tmp_path / "coffee.yaml"
    path.write_text(content)

    with pytest.raises(IntentError) as refused:
        read_intent(path)

    message = str(refused.value)
    assert message.startswith(f"{path}:{line}: ")
    assert says in message


def test_refuses_what_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "coffee.yaml"
    path.write_bytes(GOOD.encode("utf-16"))

    with pytest.raises(IntentError, match="not UTF-8"):
        read_intent(path)


def test_refuses_python_objects_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "coffee.yaml"
    path.write_text(GOOD.replace("make coffee", "!!python/object/apply:os.system [id]"))

    with pytest.raises(IntentError, match="expected a text"):
        read_intent(path)


def test_reads_an_intent(tmp_path: Path) -> None:
    path = tmp_path / "coffee.yaml"
    path.write_text(GOOD)

    assert read_intent(path) == Intent(
        "coffee",
        ("make coffee", "brew a cup", "espresso please", "来杯咖啡", "煮咖啡"),
        {"reply": {"en": "On its way."}},
    )


def test_own_files_add_and_override_by_name(tmp_path: Path) -> None:
    (tmp_path / "coffee.yaml").write_text(GOOD)
    (tmp_path / "mine.yml").write_text(GOOD.replace("name: coffee", "name: greetings"))

    intents, problems = load_intents(UNDERSTAND / "intents", tmp_path)

    assert problems == []
    assert set(intents) == SHIPPED | {"coffee"}
    assert intents["greetings"].action == {"reply": {"en": "On its way."}}


def test_a_broken_own_file_leaves_the_others_alone(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text("name: tea\nexamples: 7\n")
    (tmp_path / "c.yaml").write_text(GOOD)

    intents, problems = load_intents(UNDERSTAND / "intents", tmp_path)

    assert set(intents) == SHIPPED | {"coffee"}
    assert [str(problem).removeprefix(str(tmp_path)) for problem in problems] == [
        '/b.yaml:1: "action" is missing',
        '/c.yaml:1: another file in this folder has the name "coffee" already',
    ]


def test_shipped_intents_are_complete() -> None:
    intents, _ = load_intents(UNDERSTAND / "intents", Path("/nonexistent"))

    assert set(intents) == SHIPPED
    assert intents["time"].action["tool"] == "time"
    assert intents["calculate"].action["tool"] == "calculator"
    assert list(intents["calculate"].action["slots"]) == ["expression"]
    for intent in intents.values():
        if "reply" in intent.action:
            assert set(intent.action["reply"]) == {"en", "zh"}


def test_shipped_examples_are_many_and_never_claimed_twice() -> None:
    paths = sorted((UNDERSTAND / "intents").glob("*.yaml"))
    for path in paths:
        examples = yaml.safe_load(path.read_text())["examples"]
        assert {language: len(texts) >= 15 for language, texts in examples.items()} == {
            "en": True,
            "zh": True,
        }
    told = [text for path in paths for text in read_intent(path).examples]
    told += read_out_of_scope(UNDERSTAND / "out_of_scope.yaml")

    assert [text for text, times in Counter(told).items() if times > 1] == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("what time is it in Tokyo", "Tokyo"),
        ("What time is it in new york right now?", "new york"),
        ("what's the local time in São Paulo, please", "São Paulo"),
        ("current time in UTC+3", "UTC+3"),
        ("time in Europe/Berlin", "Europe/Berlin"),
        ("could you tell me what time it is in Cairo?", "Cairo"),
        ("is it morning in Los Angeles right now", "Los Angeles"),
        ("what's the time over in Toronto", "Toronto"),
        ("Tokyo time", "Tokyo"),
        ("time London?", "London"),
        ("东京现在几点", "东京"),
        ("现在东京几点了?", "东京"),
        ("请问伦敦那边现在几点了", "伦敦"),
        ("洛杉矶几点了", "洛杉矶"),
        ("首尔时间", "首尔"),
        ("柏林的时间", "柏林"),
        ("查一下悉尼的当地时间", "悉尼"),
        ("巴黎当地时间是多少", "巴黎"),
        ("New York 现在几点", "New York"),
        ("what time is it", None),
        ("what time is it now?", None),
        ("What time is it", None),
        ("time please", None),
        ("what's the time at the moment", None),
        ("tell me the date of today", None),
        ("what's the date today?", None),
        ("现在几点", None),
        ("请问现在是几点钟", None),
        ("你知道现在几点吗", None),
        ("请告诉我现在的时间", None),
        ("告诉我当前时间", None),
        ("报一下时间", None),
        ("今天几号", None),
        ("明天是几号", None),
        ("眼下几点", None),
        ("什么时候了", None),
        ("现在是什么时间", None),
    ],
)
def test_finds_the_place_whose_time_is_asked_for(text: str, place: str | None) -> None:
    intents, _ = load_intents(UNDERSTAND / "intents", Path("/nonexistent"))
    patterns = intents["time"].action["slots"]["place"]
    found = (re.search(pattern, text, re.IGNORECASE) for pattern in patterns)

    assert next((match[1].strip() for match in found if match), None) == place


def test_a_sum_reaches_the_tool_whole() -> None:
    intents, _ = load_intents(UNDERSTAND / "intents", Path("/nonexistent"))
    (pattern,) = intents["calculate"].action["slots"]["expression"]
    match = re.search(pattern, "  what's 100 minus\n37? ", re.IGNORECASE)

    assert match is not None
    assert match[1].strip() == "what's 100 minus\n37?"


@pytest.mark.parametrize(
    "unit", [" ", "in ", "a", "in a ", "time A ", "A ", "现在", "时间", "东", "1 + ", "\n", "in x,  "]
)
def test_no_text_takes_long_to_search_for_slots(unit: str) -> None:
    intents, _ = load_intents(UNDERSTAND / "intents", Path("/nonexistent"))
    text = "x" + unit * (100_000 // len(unit)) + "x"
    started = time.perf_counter()

    for intent in intents.values():
        for patterns in intent.action.get("slots", {}).values():
            for pattern in patterns:
                re.search(pattern, text, re.IGNORECASE)

    assert time.perf_counter() - started < 2
