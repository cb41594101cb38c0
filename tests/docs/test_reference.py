"""The reference pages hold what the code has: settings, commands, paths, channels, policies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import pytest

from api.app import make_app
from channels.registry import CHANNELS
from docs.generate import PAGES
from portico.contracts.policy import QUESTIONS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_fresh(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), "run `python -m docs.generate`"


def paths() -> list[str]:
    with_everything = make_app(cast(Any, None), cast(Any, object()), version="0")  # only asked for its paths
    return list(with_everything.openapi()["paths"])


@pytest.mark.parametrize("path", paths())
def test_every_path_is_described(path: str) -> None:
    assert re.search(re.escape(path) + r"(?![\w/{-])", (DOCS / "api.md").read_text()), path


def test_every_channel_has_a_line_and_those_with_settings_a_page() -> None:
    overview = (DOCS / "channels.md").read_text()
    for channel in CHANNELS:
        assert f"| `{channel.name}` |" in overview
        if channel.webhook:
            page = (DOCS / "channels" / f"{channel.name}.md").read_text()
            missing = [key for key in channel.settings.model_fields if f"`{key}`" not in page]
            assert missing == []


def test_every_question_that_policy_is_asked_is_described() -> None:
    told = (DOCS / "policies.md").read_text()
    assert [question for question in QUESTIONS if f"`{question}`" not in told] == []
