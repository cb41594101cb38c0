"""One catalogue in two languages: equal keys and placeholders, nothing missing, nothing unused."""

from __future__ import annotations

import ast
import re
import string
import tomllib
from pathlib import Path
from typing import Any

import pytest

from portico.texts import catalog

CHECKOUT = Path(__file__).parents[3]
FOLDERS = ("entrypoints", "operations", "console", "api", "workflows", "activities", "channels", "portico")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
READS_CHINESE = {
    "activities/functions/arithmetic_words.py": "number words that people write",
    "activities/functions/calculator.py": "a function runs in a process of its own, without the catalogue",
    "activities/functions/places.py": "names of places",
    "activities/functions/time.py": "a function runs in a process of its own, without the catalogue",
    "portico/tools/parameters.py": "yes and no, as people write them",
    "workflows/decide.py": "words that stop",
}
"""Chinese in code that is no text for people, and why."""


def whole(language: str) -> dict[str, Any]:
    path = CHECKOUT / "portico" / "texts" / f"{language}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def texts(language: str) -> dict[tuple[str, str], Any]:
    return {(part, name): text for part, names in whole(language).items() for name, text in names.items()}


def placeholders(text: Any) -> set[str]:
    lines = text if isinstance(text, list) else [text]
    return {name for line in lines for _, name, _, _ in string.Formatter().parse(line) if name}


def test_both_languages_have_the_same_keys() -> None:
    assert list(texts("en")) == list(texts("zh"))


@pytest.mark.parametrize("key", texts("en"), ids=".".join)
def test_a_text_has_the_same_placeholders_in_both_languages(key: tuple[str, str]) -> None:
    english, chinese = texts("en")[key], texts("zh")[key]
    assert type(english) is type(chinese)
    assert placeholders(english) == placeholders(chinese)


def test_chinese_is_chinese_and_english_is_english() -> None:
    without = {("page", "product"), ("page", "other_language")}
    assert [key for key, text in texts("en").items() if CHINESE.search(str(text))] == [
        ("page", "other_language")
    ]
    assert {key for key, text in texts("zh").items() if not CHINESE.search(str(text))} == without


@pytest.mark.parametrize("language", ["zh", "zh-CN", "ZH-hant", "zh_TW"])
def test_every_chinese_gets_chinese(language: str) -> None:
    assert catalog.nearest(language) == "zh"


@pytest.mark.parametrize("language", ["en", "en-GB", "de", "", "und", "x"])
def test_every_other_language_gets_english(language: str) -> None:
    assert catalog.text("replies", "stopped", language) == texts("en")["replies", "stopped"]


def test_a_text_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(KeyError):
        catalog.text("replies", "nosuch", "en")
    with pytest.raises(KeyError):
        catalog.text("replies", "unknown_command", "en")  # without its value


def test_no_text_is_left_over() -> None:
    code = "\n".join(path.read_text() for folder in FOLDERS for path in (CHECKOUT / folder).rglob("*.py"))
    page = "\n".join(
        path.read_text() for path in (CHECKOUT / "console").rglob("*.*") if path.suffix in (".js", ".html")
    )
    built = re.compile(r"^(?:effects|risk|ended_by|theme|offer|approval|tool|model|route)_")
    unused = [
        (part, name)
        for part, name in texts("en")
        if not re.search(rf"[\"'`]{name}[\"'`]", page if part == "page" else code)
        and not built.match(name)
        and not (part == "page" and re.search(rf"\b{name}\b", page))
        and name not in ("local", "cloud")
    ]
    assert unused == []


def test_no_chinese_is_written_into_code() -> None:
    found = set()
    for folder in FOLDERS:
        for path in (CHECKOUT / folder).rglob("*.py"):
            strings = (
                node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)
            )
            if any(isinstance(one, str) and CHINESE.search(one) for one in strings):
                found.add(str(path.relative_to(CHECKOUT)))
    assert found == set(READS_CHINESE)
