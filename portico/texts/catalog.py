"""Looks up what Portico says, in the reader's language. Loaded once at import, so that workflows may use it.

The texts are in `en.toml` and `zh.toml`, one section for each place that says them. Pure: a replay says the same.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
DEFAULT: Language = "en"

_CATALOG: dict[str, dict[str, dict[str, Any]]] = {
    language: tomllib.loads(Path(__file__).with_name(f"{language}.toml").read_text(encoding="utf-8"))
    for language in LANGUAGES
}


def nearest(language: str) -> Language:
    """The closest language that has texts; English for all others."""
    return "zh" if language.lower().startswith("zh") else DEFAULT


def text(section: str, name: str, language: str, /, **values: str) -> str:
    """A text with its placeholders filled. Raises KeyError for a name that does not exist."""
    found = _CATALOG[nearest(language)][section][name]
    return str(found).format(**values)


def section(name: str) -> dict[str, dict[str, Any]]:
    """A whole section in every language: language → name → text."""
    return {language: dict(_CATALOG[language][name]) for language in LANGUAGES}
